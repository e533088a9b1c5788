use k8s_openapi::jiff::Timestamp;
use machinery::Value;
use resources::quota::{Evaluator, Quota};
use serde_json::json;

use super::plan;

fn counted(pods: usize, secrets: usize) -> Vec<(Evaluator, Vec<Value>)> {
    let secret = Evaluator::of("", "secrets").unwrap();
    vec![(Evaluator::Pods, vec![json!({}); pods]), (secret, vec![json!({}); secrets])]
}

#[test]
fn the_status_follows_what_is_there() {
    let mut object = json!({"metadata": {"name": "q"},
        "spec": {"hard": {"pods": "5", "secrets": "3", "count/things.example.com": "1"}}});
    let status = |object: &Value, counted: &[(Evaluator, Vec<Value>)]| {
        plan::status(object, &Quota::of(object), counted, Timestamp::UNIX_EPOCH)
    };
    let first = status(&object, &counted(2, 1)).unwrap();
    assert_eq!(
        first,
        json!({"hard": object["spec"]["hard"], "used": {"pods": "2", "secrets": "1"}})
    );
    object["status"] = first;
    assert_eq!(status(&object, &counted(2, 1)), None);
    // What cannot be counted for a while keeps its number; what is limited no more goes.
    let half = [counted(4, 0).remove(0)];
    object["spec"]["hard"] = json!({"pods": "5", "secrets": "3"});
    let second = status(&object, &half).unwrap();
    assert_eq!(second["used"], json!({"pods": "4", "secrets": "1"}));
    object["status"] = second;
    assert_eq!(status(&object, &half), None);
}
