//! Lists of everything, whose parts are shared between readers.

use super::*;
use crate::cache::chunk::{Chunk, Form};
use crate::cache::encoded::Binary;

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
    for with_type in [false, true] {
        let form = Form::json(with_type);
        let chunk = Chunk::from(objects(0..100, 1000));
        let first = chunk.json(with_type);
        assert!(!chunk.is_kept(form));
        let second = chunk.json(with_type);
        assert!(chunk.is_kept(form) && !chunk.is_kept(Form::json(!with_type)));
        assert_eq!(chunk.json(with_type).as_ptr(), second.as_ptr());
        assert_eq!(first, second);
        chunk.cool();
        assert!(chunk.is_kept(form));
        chunk.cool();
        assert!(!chunk.is_kept(form));
        // Once in a long while is not again.
        chunk.json(with_type);
        chunk.cool();
        chunk.json(with_type);
        assert!(!chunk.is_kept(form));

        // A change is another chunk, with nothing kept and a length of its own.
        chunk.json(with_type);
        let mut changed = chunk.clone();
        assert!(chunk.is_kept(form) && !changed.is_kept(form));
        changed.objects_mut().pop();
        assert!(changed.json_len(with_type) < chunk.json_len(with_type));
        assert_eq!(changed.json(with_type).len() as u64, changed.json_len(with_type));
    }
}

/// A list in protobuf, after a look at its length.
async fn protobuf_of(items: Items) -> (Vec<Bytes>, Value) {
    let list = List { items, resource_version: 9, ..List::default() };
    let metadata = json!({"resourceVersion": "9"});
    let body = list.protobuf_of(("", "v1"), "ConfigMapList", &metadata).await.unwrap();
    let announced = body.len();
    let pieces: Vec<Bytes> = body.collect();
    let bytes = pieces.concat();
    assert_eq!(bytes.len() as u64, announced);
    let ty = machinery::schema::builtin().kind("", "v1", "ConfigMapList").unwrap();
    (pieces, machinery::codec::protobuf::decode(&bytes, ty).unwrap().value)
}

#[tokio::test]
async fn protobuf_lists_share_what_their_chunks_keep() {
    let all = objects(0..300, 1000);
    let snapshot: Snapshot = all.iter().cloned().collect();
    let (first, value) = protobuf_of(snapshot.items("", "")).await;
    let names: Vec<&str> = all.iter().map(|object| object.name()).collect();
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    let listed: Vec<String> = value["items"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(listed, names);
    let (second, again) = protobuf_of(snapshot.items("", "")).await;
    assert_eq!(again, value);
    // Head and tail are each list's own; the chunks between them are shared.
    assert_eq!(first.len(), 5);
    for at in 1..4 {
        assert_eq!(first[at].as_ptr(), second[at].as_ptr());
    }
    // A part of the list, and one for a single reader, say the same.
    let (_, part) = protobuf_of(snapshot.items("d/c0100", "")).await;
    assert_eq!(part["items"].as_array().unwrap()[..], value["items"].as_array().unwrap()[100..]);
    let (_, found) = protobuf_of(all[7..9].to_vec().into()).await;
    assert_eq!(found["items"].as_array().unwrap()[..], value["items"].as_array().unwrap()[7..9]);
}

#[test]
fn all_lists_have_their_items_under_the_same_number() {
    let is_list = |name: &str| name.ends_with("List");
    let mut seen = 0;
    for registration in resources::all() {
        let kind = registration.list_kind.to_string();
        let ty =
            machinery::schema::builtin().kind(&registration.group, &registration.version, &kind);
        if let Some(items) = ty.and_then(|ty| ty.field("items")?.tag()) {
            assert_eq!(items, 2, "{kind}");
            seen += usize::from(is_list(&kind));
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn what_is_selected_is_found_whatever_the_marks_say() {
    let set = Arc::new(field_set());
    let object = |number: usize| {
        let mut pod = pod(&format!("p{number:03}"), &format!("a{}", number % 7), "n1");
        pod["metadata"]["labels"]["empty"] = "".into();
        pod["metadata"]["labels"]["tier"] =
            if number.is_multiple_of(2) { "x".into() } else { "y".into() };
        pod["spec"]["nodeName"] = format!("n{}", number % 5).into();
        let key = format!("d{}/p{number:03}", number % 3);
        Arc::new(Object::new(&key, pod.to_string().as_bytes(), 7, &set).unwrap())
    };
    let all: Vec<Arc<Object>> = (0..900).map(object).collect();
    let snapshot: Snapshot = all.iter().cloned().collect();
    let mut sorted = all;
    sorted.sort_by(|a, b| a.key().cmp(b.key()));
    for labels in ["", "app=a3", "app in (a1,a2)", "app!=a1", "empty=", "none=", "tier=y,app=a2"] {
        for fields in
            ["", "spec.nodeName=n2", "spec.nodeName!=n2", "status.podIP=", "metadata.name=p007"]
        {
            for (namespace, start) in [("", ""), ("d1", ""), ("d1", "d1/p500"), ("", "d2/p100")] {
                let labels = LabelSelector::parse(labels).unwrap();
                let fields = FieldSelector::parse(fields).unwrap();
                let selection = Selection::new(namespace, labels, fields);
                let items = snapshot.items(start, selection.prefix());
                let found: Vec<&str> = items.selected(&selection).map(|o| o.key()).collect();
                let wanted = sorted.iter().filter(|o| o.key() >= start && selection.matches(o));
                let wanted: Vec<&str> = wanted.map(|object| object.key()).collect();
                assert_eq!(found, wanted, "{selection:?}");
            }
        }
    }
}

#[test]
fn binary_forms_are_kept_while_they_are_asked_for() {
    let object = objects(0..1, 10).remove(0);
    let first = object.protobuf().unwrap();
    assert_eq!(object.protobuf().unwrap().as_ptr(), first.as_ptr());
    let cbor = object.cbor();
    // Other tests may look through what is kept too, so that nothing is said of when.
    for _ in 0..2 {
        crate::cache::encoded::cool();
    }
    let later = object.protobuf().unwrap();
    assert_ne!(later.as_ptr(), first.as_ptr());
    assert_eq!((later, object.cbor()), (first, cbor));
    // What is made for something that is kept itself is not.
    let other = objects(1..2, 10).remove(0);
    let once = other.binary_once(Binary::Protobuf);
    assert_ne!(other.protobuf().unwrap().as_ptr(), once.as_ptr());
}
