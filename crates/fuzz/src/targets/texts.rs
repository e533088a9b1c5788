//! Small grammars inside of objects and URLs: their canonical text is read as what it is of.

use machinery::quantity::Quantity;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::{duration, time};

use crate::Target;

pub(super) const TARGETS: [Target; 5] = [
    Target { name: "duration", corpus: durations, run: duration },
    Target { name: "field-selector", corpus: field_selectors, run: field_selector },
    Target { name: "label-selector", corpus: label_selectors, run: label_selector },
    Target { name: "quantity", corpus: quantities, run: quantity },
    Target { name: "time", corpus: times, run: time },
];

fn of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn quantities() -> Vec<Vec<u8>> {
    of(&[
        "1",
        "-1.5",
        "100m",
        "1Ki",
        "1.5Gi",
        "1e3",
        "12E",
        "1n",
        "0.0000001",
        "9223372036854775807",
    ])
}

fn quantity(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(quantity) = Quantity::parse(text) else { return };
    let canonical = quantity.to_string();
    let again = Quantity::parse(&canonical).expect("a canonical text can be read");
    assert_eq!(again.to_string(), canonical);
    // Fractions of bytes are rounded away from zero in the text, as upstream rounds them.
    assert!(again == quantity || !quantity.is_integer(), "{canonical}");
    let (_, _, _) = (quantity.value(), quantity.milli_value(), quantity + quantity);
}

fn durations() -> Vec<Vec<u8>> {
    of(&["1h2m3s", "-1.5h", "300ms", "1us", "2562047h47m16.854775807s", "0"])
}

fn duration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(nanos) = duration::parse_nanos(text) else { return };
    let canonical = duration::format_nanos(nanos);
    assert_eq!(duration::parse_nanos(&canonical).ok(), Some(nanos), "{canonical}");
}

fn times() -> Vec<Vec<u8>> {
    of(&["2024-01-02T03:04:05Z", "2024-02-29T23:59:59.999999+14:00", "0001-01-01T00:00:00Z"])
}

fn time(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(at) = time::parse(text) else { return };
    let canonical = time::format_micro(at);
    let again = time::parse(&canonical).expect("a canonical text can be read");
    assert_eq!(time::format_micro(again), canonical);
}

fn label_selectors() -> Vec<Vec<u8>> {
    of(&["a=b,c==d,e!=f", "x in (a,b),y notin (c)", "!z,w,n>1,m<2", "a.b/c in ()", ""])
}

fn label_selector(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(selector) = LabelSelector::parse(text) else { return };
    let canonical = selector.to_string();
    // The set of the empty value alone, `(,)`, is written as one of nothing, which is refused:
    // upstream's text too.
    if canonical.contains("in ()") {
        assert!(LabelSelector::parse(&canonical).is_err(), "{canonical}");
        return;
    }
    let again = LabelSelector::parse(&canonical).expect("a canonical text can be read");
    assert_eq!(again.to_string(), canonical);
    let labels = std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(selector.matches(&labels), again.matches(&labels), "{canonical}");
}

fn field_selectors() -> Vec<Vec<u8>> {
    of(&["metadata.name=a", "spec.nodeName!=b,status.phase==Running", "a=b\\,c\\=d\\\\", ""])
}

fn field_selector(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(selector) = FieldSelector::parse(text) else { return };
    let canonical = selector.to_string();
    let again = FieldSelector::parse(&canonical).expect("a canonical text can be read");
    assert_eq!(again.requirements(), selector.requirements(), "{canonical}");
}
