//! Estimates for the functions of the libraries.

use super::range::Range;
use super::{CHECK, CREATE_LIST, CREATE_MESSAGE, REGEX, TRAVERSAL};
use crate::library::format::MAX_NAME_REGEX_SIZE;
use crate::types::Type;

/// An argument: what is known of its size and type.
pub(super) struct Arg<'a> {
    pub(super) size: Range,
    pub(super) ty: &'a Type,
    /// The size of an item, for lists.
    pub(super) item: Option<Range>,
    /// The number, where one is written out.
    pub(super) literal: Option<i64>,
}

/// The cost of a call, and the size of its result where that is known.
pub(super) struct Estimate {
    pub(super) cost: Range,
    pub(super) result: Option<Range>,
}

impl Estimate {
    fn of(cost: Range) -> Option<Self> {
        Some(Self { cost, result: None })
    }

    fn sized(cost: Range, result: Range) -> Option<Self> {
        Some(Self { cost, result: Some(result) })
    }
}

/// Estimates the functions that have a rule of their own, without what the arguments cost.
pub(super) fn of_call(
    function: &str,
    overload: &str,
    target: Option<&Arg<'_>>,
    args: &[Arg<'_>],
) -> Option<Estimate> {
    const NOMINAL: Range = Range::fixed(1);
    match function {
        "check" => Estimate::of(Range::fixed(CHECK)),
        "fieldSelector" | "labelSelector" => Estimate::of(selector(args.first()?.size)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => of_items(target?),
        "url" | "jsonpatch.escapeKey" => {
            let size = args.first()?.size;
            Estimate::sized(size.scaled(TRAVERSAL), size)
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            let size = target?.size;
            Estimate::sized(size.scaled(TRAVERSAL), size)
        }
        "replace" => replace(target?.size, args.first()?.size, args.get(1)?.size),
        "split" => {
            let size = target?.size;
            let limit = args.get(1).and_then(|arg| arg.literal);
            let most = limit.map_or(size.max, |limit| limit as u64);
            Estimate::sized(size.scaled(2.0 * TRAVERSAL), Range::new(0, most))
        }
        "join" => join(target?, args.first()),
        "find" | "findAll" => {
            let size = target?.size;
            let text = size.plus(Range::fixed(1)).scaled(TRAVERSAL);
            let regex = args.first()?.size.scaled(REGEX);
            Estimate::sized(text.times(regex), Range::new(0, size.max))
        }
        "ip.isCanonical" if target.is_some() => {
            Estimate::of(args.first()?.size.scaled(2.0 * TRAVERSAL))
        }
        "containsIP" | "containsCIDR" => {
            target?;
            let octets = Range::new(4, 16);
            let mut cost = octets.plus(octets).scaled(TRAVERSAL);
            if function == "containsCIDR" {
                cost = cost.plus(octets.scaled(TRAVERSAL)).plus(NOMINAL);
            }
            if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                cost = cost.plus(args.first()?.size.scaled(TRAVERSAL));
            }
            Estimate::of(cost)
        }
        "validate" => {
            target?;
            let text = args.first()?.size.scaled(TRAVERSAL);
            Estimate::of(text.scaled(MAX_NAME_REGEX_SIZE * REGEX))
        }
        "sets.contains" | "sets.intersects" | "sets.equivalent" => {
            let factor = if function == "sets.equivalent" { 2.0 } else { 1.0 };
            let pairs = args.first()?.size.times(args.get(1)?.size);
            Estimate::of(pairs.scaled(factor).plus(NOMINAL))
        }
        "distinct" | "sort" | "@sortByAssociatedKeys" => {
            let size = target?.size;
            Estimate::sized(size.times(size).plus(NOMINAL), size)
        }
        "flatten" | "reverse" | "slice" => {
            let size = target?.size;
            Estimate::sized(size.plus(NOMINAL), Range::new(0, size.max))
        }
        "lists.range" => {
            let end = args.first()?.literal;
            let size = end.map_or(Range::UNKNOWN, |end| Range::fixed(end.max(0) as u64));
            Estimate::sized(size.plus(NOMINAL), size)
        }
        "_==_" => {
            let ty = args.first()?.ty;
            let same = args.get(1).is_some_and(|arg| arg.ty == ty);
            (same && matches!(ty, Type::Opaque(_))).then_some(())?;
            Estimate::of(NOMINAL)
        }
        _ => None,
    }
}

/// A selector of some length becomes a list of requirements.
pub(super) fn selector(length: Range) -> Range {
    let requirements = length.scaled(0.5).scaled((CREATE_LIST + CREATE_MESSAGE) as f64);
    Range::fixed(CREATE_LIST).plus(length.scaled(TRAVERSAL)).plus(requirements)
}

/// Functions that look at every item once.
fn of_items(target: &Arg<'_>) -> Option<Estimate> {
    let Type::List(item) = target.ty else {
        return Estimate::of(target.size.scaled(TRAVERSAL));
    };
    let mut each = Range::fixed(1);
    if matches!(**item, Type::String | Type::Bytes) {
        each = each.plus(target.item.unwrap_or(Range::UNKNOWN).scaled(TRAVERSAL));
    }
    Estimate::of(target.size.times(each))
}

fn replace(size: Range, from: Range, to: Range) -> Option<Estimate> {
    let (mut count, mut kept) = (Range::default(), Range::default());
    if from.min == 0 {
        // Nothing is found around every character.
        count.max = size.max.saturating_add(1);
        kept.max = size.max;
    } else if to.max <= from.min {
        kept.max = size.max;
    } else {
        count.max = size.max.div_ceil(from.min);
    }
    if from.max == 0 {
        count.min = size.min.saturating_add(1);
        kept.min = size.min;
    } else if from.max <= to.min {
        kept.min = size.min;
    } else {
        count.min = size.min.div_ceil(from.max);
    }
    Estimate::sized(size.scaled(2.0 * TRAVERSAL), count.times(to).plus(kept))
}

fn join(target: &Arg<'_>, separator: Option<&Arg<'_>>) -> Option<Estimate> {
    let list = target.size;
    let mut size = list.times(target.item.unwrap_or(Range::UNKNOWN));
    if let Some(separator) = separator {
        let between = Range::new(list.min.saturating_sub(1), list.max.saturating_sub(1));
        size = size.plus(separator.size.times(between));
    }
    Estimate::sized(size.scaled(TRAVERSAL), size)
}
