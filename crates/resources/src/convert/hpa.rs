//! `autoscaling/v1` and `/v2` HorizontalPodAutoscaler. What v1 has no field for travels in
//! annotations.

use machinery::{Value, meta};
use serde_json::{Map, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn is_plain_cpu(metric: &Value) -> bool {
    metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
        && metric.pointer("/resource/target/averageUtilization").is_some_and(Value::is_number)
}

fn take(object: &mut Value, pointer: &str, field: &str) -> Option<Value> {
    object.pointer_mut(pointer)?.as_object_mut()?.shift_remove(field)
}

fn put(object: &mut Value, parent: &str, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        let parent = fields.entry(parent).or_insert_with(|| Value::Object(Map::new()));
        if let Some(parent) = parent.as_object_mut() {
            parent.insert(field.to_owned(), value);
        }
    }
}

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let annotations = meta::metadata_mut(object).get_mut("annotations")?.as_object_mut()?;
    let text = annotations.shift_remove(key)?;
    if annotations.is_empty() {
        meta::metadata_mut(object).shift_remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

pub(super) fn v1_to_v2(hpa: &mut Value) {
    hpa["apiVersion"] = json!("autoscaling/v2");
    let mut metrics = match take_annotation(hpa, METRICS) {
        Some(Value::Array(metrics)) => metrics,
        _ => Vec::new(),
    };
    if let Some(percent) = take(hpa, "/spec", "targetCPUUtilizationPercentage") {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}});
        metrics.insert(0, cpu);
    }
    if !metrics.is_empty() {
        put(hpa, "spec", "metrics", Value::Array(metrics));
    }
    if let Some(behavior) = take_annotation(hpa, BEHAVIOR) {
        put(hpa, "spec", "behavior", behavior);
    }
    let mut current = match take_annotation(hpa, CURRENT) {
        Some(Value::Array(current)) => current,
        _ => Vec::new(),
    };
    if let Some(percent) = take(hpa, "/status", "currentCPUUtilizationPercentage") {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": percent}}});
        current.insert(0, cpu);
    }
    if !current.is_empty() {
        put(hpa, "status", "currentMetrics", Value::Array(current));
    }
    if let Some(conditions) = take_annotation(hpa, CONDITIONS) {
        put(hpa, "status", "conditions", conditions);
    }
}

pub(super) fn v2_to_v1(hpa: &mut Value) {
    hpa["apiVersion"] = json!("autoscaling/v1");
    let annotate = |hpa: &mut Value, key: &str, value: &Value| {
        meta::set_annotation(hpa, key, value.to_string());
    };
    if let Some(Value::Array(mut metrics)) = take(hpa, "/spec", "metrics") {
        if let Some(at) = metrics.iter().position(is_plain_cpu) {
            let cpu = metrics.remove(at);
            let percent = cpu.pointer("/resource/target/averageUtilization").cloned();
            put(hpa, "spec", "targetCPUUtilizationPercentage", percent.unwrap_or_default());
        }
        if !metrics.is_empty() {
            annotate(hpa, METRICS, &Value::Array(metrics));
        }
    }
    if let Some(behavior) = take(hpa, "/spec", "behavior") {
        annotate(hpa, BEHAVIOR, &behavior);
    }
    if let Some(Value::Array(mut current)) = take(hpa, "/status", "currentMetrics") {
        let percent_of = |m: &Value| m.pointer("/resource/current/averageUtilization").cloned();
        let is_cpu = |m: &Value| {
            m.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
                && percent_of(m).is_some()
        };
        if let Some(at) = current.iter().position(is_cpu) {
            let percent = percent_of(&current.remove(at)).unwrap_or_default();
            put(hpa, "status", "currentCPUUtilizationPercentage", percent);
        }
        if !current.is_empty() {
            annotate(hpa, CURRENT, &Value::Array(current));
        }
    }
    if let Some(conditions) = take(hpa, "/status", "conditions") {
        annotate(hpa, CONDITIONS, &conditions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let newer = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Pods", "pods": {"metric": {"name": "m"}}}]}});
        let mut hpa = newer.clone();
        v2_to_v1(&mut hpa);
        assert_eq!(hpa["spec"]["targetCPUUtilizationPercentage"], 80);
        assert!(meta::annotation(&hpa, METRICS).is_some());
        v1_to_v2(&mut hpa);
        assert_eq!(hpa, newer);
    }
}
