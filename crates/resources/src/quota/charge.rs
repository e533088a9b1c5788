//! What a write uses, charged to the quotas that it concerns.

use machinery::Value;
use machinery::quantity::Quantity;
use machinery::time::Timestamp;

use super::{Amounts, Evaluator, Limited, Quota, limited, shown};

/// A write that may use something.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// How its resource is counted.
    pub evaluator: &'a Evaluator,
    /// The object as it will be.
    pub object: &'a Value,
    /// The object as it is, unless it is new.
    pub old: Option<&'a Value>,
    /// Through which subresource; what is reported of an object is never refused.
    pub subresource: &'a str,
    /// What may be used only where a quota covers it.
    pub limited: &'a [Limited],
}

/// What becomes used of a quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which of the quotas.
    pub index: usize,
    /// All that is used then.
    pub used: Amounts,
}

/// Charges a write to all quotas that it concerns, or to none.
///
/// # Errors
/// Why it must not be made, as the client is told.
pub fn charge(
    quotas: &[Quota],
    charge: &Charge<'_>,
    now: Timestamp,
) -> Result<Vec<Change>, String> {
    let Charge { evaluator, object, old, subresource, limited: limits } = *charge;
    let mut concerned = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        if !quota.concerns(evaluator, object, &quota.hard) {
            continue;
        }
        let names: Vec<&String> = quota.hard.keys().filter(|name| evaluator.counts(name)).collect();
        evaluator
            .check(&names, object)
            .map_err(|why| format!("failed quota: {}: {why}", quota.name))?;
        if !names.iter().all(|name| quota.used.contains_key(*name)) {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            return Err(format!(
                "status unknown for quota: {}, resources: {}",
                quota.name,
                names.join(",")
            ));
        }
        concerned.push(index);
    }
    let usage = evaluator.usage(object, now);
    let negative: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.as_str())
        .collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = old.map(|old| evaluator.usage(old, now));
    let adds = |(name, amount): (&String, &Quantity)| {
        let before = before.as_ref().and_then(|before| before.get(name)).copied();
        *amount > before.unwrap_or_default()
    };
    if !limits.is_empty() && usage.iter().any(adds) {
        limited::check(limits, (evaluator, object), &usage, quotas, &concerned)?;
    }
    let mut changes = Vec::new();
    for index in concerned {
        let quota = &quotas[index];
        // What the object used before is charged already, if the quota concerned it then.
        let charged = match (&before, old) {
            (Some(before), Some(old)) if quota.concerns(evaluator, old, &quota.hard) => before,
            _ => &Amounts::new(),
        };
        let requested: Amounts = usage
            .iter()
            .filter(|(name, _)| quota.hard.contains_key(*name))
            .filter_map(|(name, amount)| {
                let more = match charged.get(name) {
                    Some(before) if before >= amount => return None,
                    Some(before) => *amount - *before,
                    None => *amount,
                };
                (!more.is_zero()).then(|| (name.clone(), more))
            })
            .collect();
        if requested.is_empty() {
            continue;
        }
        let mut used = quota.used.clone();
        for (name, amount) in &requested {
            *used.entry(name.clone()).or_default() += *amount;
        }
        let exceeded: Vec<&String> =
            requested.keys().filter(|name| used[*name] > quota.hard[*name]).collect();
        if !exceeded.is_empty() && subresource != "status" {
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.name,
                shown(&requested, &exceeded),
                shown(&quota.used, &exceeded),
                shown(&quota.hard, &exceeded)
            ));
        }
        changes.push(Change { index, used });
    }
    Ok(changes)
}
