//! How requests to the API server are queued.

use machinery::Value;

use crate::cursor::{set_default, set_default_zero};
use crate::strategy::{Generation, Strategy, subdomain_name};

/// The rules of FlowSchemas.
pub(super) struct FlowSchema;

impl Strategy for FlowSchema {
    fn default(&self, schema: &mut Value) {
        if let Some(spec) = schema.get_mut("spec").filter(|s| s.is_object()) {
            set_default_zero(spec, "matchingPrecedence", 1000);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}

/// The rules of PriorityLevelConfigurations.
pub(super) struct PriorityLevel;

impl Strategy for PriorityLevel {
    fn default(&self, level: &mut Value) {
        let Some(spec) = level.get_mut("spec").filter(|s| s.is_object()) else { return };
        if let Some(exempt) = spec.get_mut("exempt").filter(|e| e.is_object()) {
            set_default(exempt, "nominalConcurrencyShares", 0);
            set_default(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = spec.get_mut("limited").filter(|l| l.is_object()) {
            set_default(limited, "nominalConcurrencyShares", 30);
            set_default(limited, "lendablePercent", 0);
            if let Some(queuing) = limited.pointer_mut("/limitResponse/queuing") {
                set_default_zero(queuing, "queues", 64);
                set_default_zero(queuing, "handSize", 8);
                set_default_zero(queuing, "queueLengthLimit", 50);
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
