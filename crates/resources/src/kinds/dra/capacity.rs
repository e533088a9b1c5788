//! Capacities of devices that several claims share: what can be asked of them.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::quantity::Quantity;

use super::forms;
use crate::cursor::At;

const MAX_OPTIONS: usize = 10;

/// Checks a capacity; only one that is `shared` says what can be asked of it.
pub(super) fn check(capacity: &At<'_>, shared: bool, errors: &mut ErrorList) {
    let policy = capacity.get("requestPolicy");
    if !policy.is_set() {
        return;
    }
    if !shared {
        policy.forbidden(errors, "allowMultipleAllocations must be true");
        return;
    }
    let (values, range) = (policy.get("validValues"), policy.get("validRange"));
    if !values.is_empty() && range.is_set() {
        let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        policy.forbidden(errors, detail);
        return;
    }
    let (whole, default) = (quantity(&capacity.get("value")), policy.get("default"));
    let what = if !values.is_empty() {
        "validValues"
    } else if range.is_set() {
        "validRange"
    } else {
        return;
    };
    if !default.is_set() {
        default.required(errors, format!("required when {what} is defined"));
    } else if range.is_set() {
        check_range(&range, quantity(&default), whole, errors);
    } else {
        check_values(&values, quantity(&default), whole, errors);
    }
}

fn quantity(at: &At<'_>) -> Quantity {
    Quantity::from_value(at.value).unwrap_or_default()
}

fn check_values(values: &At<'_>, default: Quantity, whole: Quantity, errors: &mut ErrorList) {
    let invalid = |at: &At<'_>, value: Quantity, detail: String, errors: &mut ErrorList| {
        errors.push(Error::invalid(&at.path, value.to_string(), detail));
    };
    let all: Vec<At<'_>> = values.list().collect();
    for pair in all.windows(2) {
        if quantity(&pair[0]) > quantity(&pair[1]) {
            let detail = "values must be sorted in ascending order".to_owned();
            invalid(&pair[1], quantity(&pair[1]), detail, errors);
        }
    }
    let mut found = false;
    let complete = forms::items(values, MAX_OPTIONS, errors, |option, errors| {
        let value = quantity(option);
        if value > whole {
            let detail = format!("option is larger than capacity value: {whole}");
            invalid(option, value, detail, errors);
        }
        found |= value == default;
    });
    if complete {
        let mut taken = BTreeSet::new();
        for option in &all {
            if !taken.insert(quantity(option).value()) {
                let shown = quantity(option).value().to_string();
                errors.push(Error::duplicate(&option.path, shown));
            }
        }
    }
    if !found {
        let detail = "default value is not valid according to the requestPolicy".to_owned();
        invalid(values, default, detail, errors);
    }
}

fn check_range(range: &At<'_>, default: Quantity, whole: Quantity, errors: &mut ErrorList) {
    let (min, max, step) = (range.get("min"), range.get("max"), range.get("step"));
    if !min.is_set() {
        min.required(errors, "required when validRange is defined");
        return;
    }
    let mut invalid = |field: &'static str, value: Quantity, detail: String| {
        errors.push(Error::invalid(&range.path.child(field), value.to_string(), detail));
    };
    let least = quantity(&min);
    if least > whole {
        invalid("min", least, format!("min is larger than capacity value: {whole}"));
    }
    if default < least {
        invalid("default", default, format!("default is less than min: {least}"));
    }
    let most = max.is_set().then(|| quantity(&max));
    if let Some(most) = most {
        if least > most {
            invalid("max", least, format!("min is larger than max: {most}"));
        }
        if most > whole {
            invalid("max", most, format!("max is larger than capacity value: {whole}"));
        }
        if default > most {
            invalid("default", default, format!("default is more than max: {most}"));
        }
    }
    if !step.is_set() {
        return;
    }
    let width = quantity(&step);
    if width <= Quantity::ZERO {
        invalid("step", width, "must be greater than zero".to_owned());
        return;
    }
    let next = least + width;
    if next > whole {
        invalid("step", width, format!("one step {next} is larger than capacity value: {whole}"));
    }
    for value in [Some(default), most].into_iter().flatten() {
        let above = value.value().wrapping_sub(least.value());
        if above.checked_rem(width.value()).is_some_and(|rest| rest != 0) {
            let detail =
                format!("value is not a multiple of a given step ({width}) from ({least})");
            invalid("step", value, detail);
        }
    }
}
