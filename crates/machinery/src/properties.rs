//! Properties that must hold for every input: texts that survive a round trip, sums that do not
//! depend on order, patches that are done after one application.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::patch::{merge, strategic};
use crate::quantity::Quantity;
use crate::selector::{FieldSelector, LabelSelector};
use crate::{duration, schema};

fn quantity() -> impl Strategy<Value = String> {
    let units =
        prop::sample::select(vec!["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"]);
    ("-?[0-9]{1,6}(\\.[0-9]{1,4})?", units).prop_map(|(number, unit)| format!("{number}{unit}"))
}

fn container() -> impl Strategy<Value = Value> {
    let ports = prop::collection::vec(1..4_u16, 0..3);
    ("[a-c]", "[x-z]", ports).prop_map(|(name, image, ports)| {
        let ports: Vec<Value> = ports.into_iter().map(|p| json!({"containerPort": p})).collect();
        json!({"name": name, "image": image, "ports": ports})
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let containers = prop::collection::vec(container(), 0..3);
    (labels, containers).prop_map(|(labels, mut containers)| {
        containers.sort_by_key(|c| c["name"].to_string());
        containers.dedup_by_key(|c| c["name"].clone());
        json!({"metadata": {"labels": labels}, "spec": {"containers": containers}})
    })
}

fn json_tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        "[a-c]".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_quantities_say_the_same(text in quantity()) {
        let once = Quantity::parse(&text).unwrap();
        let twice = Quantity::parse(&once.to_string()).unwrap();
        prop_assert_eq!(twice, once);
        // A binary amount without a unit is a decimal one from then on: `8000` becomes `8k`.
        let again = Quantity::parse(&twice.to_string()).unwrap();
        prop_assert_eq!(again.to_string(), twice.to_string());
    }

    #[test]
    fn sums_do_not_depend_on_order(a in quantity(), b in quantity()) {
        let (a, b) = (Quantity::parse(&a).unwrap(), Quantity::parse(&b).unwrap());
        prop_assert_eq!(a + b, b + a);
        prop_assert_eq!(a + b - b, a);
    }

    #[test]
    fn durations_round_trip(nanos in any::<i64>()) {
        prop_assert_eq!(duration::parse_nanos(&duration::format_nanos(nanos)), Ok(nanos));
    }

    #[test]
    fn parsers_refuse_but_never_fail(text in ".{0,40}") {
        drop((Quantity::parse(&text), duration::parse_nanos(&text)));
        drop((LabelSelector::parse(&text), FieldSelector::parse(&text)));
    }

    #[test]
    fn selectors_round_trip(text in "[ab](=[xy]| in \\([xy],z\\)|!=x)?(,!c)?") {
        let parsed = LabelSelector::parse(&text).unwrap();
        prop_assert_eq!(LabelSelector::parse(&parsed.to_string()).unwrap(), parsed);
    }

    #[test]
    fn merge_patches_are_done_after_one_application(object in json_tree(), patch in json_tree()) {
        let mut once = object;
        merge::apply(&mut once, &patch);
        let mut twice = once.clone();
        merge::apply(&mut twice, &patch);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn strategic_patches_are_done_after_one_application(object in pod(), patch in pod()) {
        let ty = schema::builtin().kind("", "v1", "Pod").unwrap();
        let mut once = object;
        strategic::apply(&mut once, &patch, ty).unwrap();
        let mut twice = once.clone();
        strategic::apply(&mut twice, &patch, ty).unwrap();
        prop_assert_eq!(once, twice);
    }
}
