//! Autoscalers.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use serde_json::{Map, json};

use crate::cursor::{At, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy, subdomain_name};

/// The rules of HorizontalPodAutoscalers, in the newer form and the older one.
pub(super) struct Autoscaler {
    pub(super) older: bool,
}

impl Strategy for Autoscaler {
    fn default(&self, hpa: &mut Value) {
        let Some(spec) = hpa.get_mut("spec").filter(|s| s.is_object()) else { return };
        set_default(spec, "minReplicas", 1);
        if self.older {
            return;
        }
        set_default_zero(
            spec,
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
        if let Some(behavior) = spec.get_mut("behavior").filter(|b| b.is_object()) {
            let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}]);
            let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
            for (direction, policies, window) in
                [("scaleUp", up, Some(0)), ("scaleDown", down, None)]
            {
                set_default(behavior, direction, Value::Object(Map::new()));
                let rules = &mut behavior[direction];
                if let Some(window) = window {
                    set_default(rules, "stabilizationWindowSeconds", window);
                }
                set_default(rules, "selectPolicy", "Max");
                set_default_zero(rules, "policies", policies);
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, hpa: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(hpa).get("spec");
        let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
        if min.int().is_some_and(|n| n < 1) {
            min.invalid(&mut errors, "must be greater than or equal to 1");
        }
        let most = max.int_or_zero();
        if most < 1 {
            errors.push(Error::invalid(&max.path, most, "must be greater than 0"));
        }
        if min.int().is_some_and(|n| most < n) {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(Error::invalid(&max.path, most, detail));
        }
        let target = spec.get("scaleTargetRef");
        target.get("kind").must_form(&mut errors, names::path_segment);
        target.get("name").must_form(&mut errors, names::path_segment);
        errors
    }
}
