//! Lists of everything, whose parts are shared between readers.

use super::*;
use crate::cache::chunk::Chunk;

fn objects(range: std::ops::Range<usize>, size: usize) -> Vec<Arc<Object>> {
    let set = Arc::new(FieldSet::default());
    let object = |number: usize| {
        let name = format!("c{number:04}");
        let value = json!({"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": name}, "data": {"k": "x".repeat(size)}});
        let bytes = value.to_string();
        Arc::new(Object::new(&format!("d/{name}"), bytes.as_bytes(), 7, &set).unwrap())
    };
    range.map(object).collect()
}

/// The names in a list's JSON, after a look at its length.
fn names(list: List, with_type: bool) -> Vec<String> {
    let body = list.json_of("v1", "ConfigMapList", with_type);
    let announced = body.len();
    let bytes = body.collect::<Vec<Bytes>>().concat();
    assert_eq!(bytes.len() as u64, announced);
    let parsed: Value = serde_json::from_slice(&bytes).unwrap();
    let items = parsed["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item.get("kind").is_some() == with_type));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn whole_and_partial_runs_make_the_same_list() {
    for size in [1, 300, 9000] {
        let all = objects(0..700, size);
        let snapshot: Snapshot = all.iter().cloned().collect();
        for (start, limit) in [("", 0), ("", 1), ("", 200), ("d/c0100", 0), ("d/c0100", 500)] {
            let mut items = snapshot.items(start, "d/");
            let expected: Vec<String> = all
                .iter()
                .filter(|object| object.key() >= start)
                .take(if limit == 0 { usize::MAX } else { limit })
                .map(|object| object.name().to_owned())
                .collect();
            let before = items.len();
            if limit > 0 {
                assert_eq!(items.truncate(limit), before - expected.len());
            }
            assert_eq!(items.last().map(|last| last.name()), expected.last().map(|x| x.as_str()));
            for with_type in [false, true] {
                // The second time from what is kept.
                for _ in 0..2 {
                    let list = List { items: items.clone(), ..List::default() };
                    assert_eq!(names(list, with_type), expected, "{size} {start} {limit}");
                }
            }
        }
    }
}

#[test]
fn runs_end_with_the_namespace() {
    let set = Arc::new(FieldSet::default());
    let keys: Vec<String> = (0..3)
        .flat_map(|namespace| (0..200).map(move |n| format!("n{namespace}/o{n:03}")))
        .collect();
    let object = |key: &String| Object::new(key, br#"{"metadata":{}}"#, 1, &set).unwrap();
    let snapshot: Snapshot = keys.iter().map(|key| Arc::new(object(key))).collect();
    for prefix in ["", "n0/", "n1/", "n2/", "n/", "n3/"] {
        for start in ["", "n0/o150", "n1/o000", "n1/o199", "n2/o200"] {
            let items = snapshot.items(start, prefix);
            let got: Vec<&str> = items.iter().map(|object| object.key()).collect();
            let wanted = |key: &&String| key.starts_with(prefix) && key.as_str() >= start;
            let expected: Vec<&String> = keys.iter().filter(wanted).collect();
            assert_eq!(got, expected, "{prefix} {start}");
            assert_eq!(items.len(), expected.len());
        }
    }
}

#[test]
fn json_is_kept_while_it_is_asked_for_again_and_again() {
    let chunk = Chunk::from(objects(0..100, 1000));
    let first = chunk.json();
    assert!(!chunk.is_kept());
    let second = chunk.json();
    assert!(chunk.is_kept());
    assert_eq!(chunk.json().as_ptr(), second.as_ptr());
    assert_eq!(first, second);
    chunk.cool();
    assert!(chunk.is_kept());
    chunk.cool();
    assert!(!chunk.is_kept());
    // Once in a long while is not again.
    chunk.json();
    chunk.cool();
    chunk.json();
    assert!(!chunk.is_kept());

    // A change is another chunk, with nothing kept and a length of its own.
    chunk.json();
    let mut changed = chunk.clone();
    assert!(chunk.is_kept() && !changed.is_kept());
    changed.objects_mut().pop();
    assert!(changed.json_len() < chunk.json_len());
    assert_eq!(changed.json().len() as u64, changed.json_len());
}
