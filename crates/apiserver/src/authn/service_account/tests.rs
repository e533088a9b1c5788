use super::*;

struct Fixed;

impl Objects for Fixed {
    fn find(&self, resource: &str, ns: &str, name: &str) -> Option<(String, Option<u64>)> {
        match (resource, ns, name) {
            ("serviceaccounts", "n", "sa") => Some(("u1".to_owned(), None)),
            ("pods", "n", "p") => Some(("u2".to_owned(), None)),
            ("pods", "n", "leaving") => Some(("u3".to_owned(), Some(1_000))),
            _ => None,
        }
    }
}

fn accounts() -> ServiceAccounts {
    let (private, public) = component::pki::signing_key().unwrap();
    let signer = Signer::from_pem(private.as_bytes()).unwrap();
    let keys = Keys::new(signer, Verifier::from_pem(public.as_bytes()).unwrap());
    ServiceAccounts::new("https://iss".to_owned(), vec![], keys, Box::new(Fixed))
}

fn binding(pod: Option<(&str, &str)>, uid: &str) -> Binding {
    let reference =
        |(name, uid): (&str, &str)| Reference { name: name.to_owned(), uid: uid.to_owned() };
    Binding {
        namespace: "n".to_owned(),
        node: None,
        pod: pod.map(reference),
        secret: None,
        serviceaccount: reference(("sa", uid)),
    }
}

fn check(binding: &Binding, audience: &[&str], after: u64, want: Result<&str, &str>) {
    let accounts = accounts();
    let start = UNIX_EPOCH + Duration::from_secs(500);
    let audiences = ["https://iss".to_owned()];
    let token = accounts.issue(binding, &audiences, start, Duration::from_secs(600)).unwrap();
    let audience: Vec<String> = audience.iter().map(|a| (*a).to_owned()).collect();
    let now = start + Duration::from_secs(after);
    let got = accounts.authenticate_at(&token, &audience, now);
    let got = got.map(|identity| identity.user.name.clone()).map_err(|e| e.to_string());
    let got = got.as_ref().map(String::as_str).map_err(String::as_str);
    assert_eq!(got, want);
}

#[test]
fn tokens_hold_as_long_as_what_they_are_bound_to() {
    let name = "system:serviceaccount:n:sa";
    check(&binding(None, "u1"), &[], 0, Ok(name));
    check(&binding(Some(("p", "u2")), "u1"), &["https://iss"], 10, Ok(name));
    check(&binding(None, "u1"), &[], 700, Err("service account token has expired"));
    check(
        &binding(None, "u1"),
        &["vault"],
        0,
        Err("token audiences [\"https://iss\"] is invalid for the target audiences [\"vault\"]"),
    );
    let gone = "service account token has been invalidated: ";
    let why = format!("{gone}serviceaccounts n/sa is another one");
    check(&binding(None, "other"), &[], 0, Err(&why));
    let why = format!("{gone}pods n/q does not exist");
    check(&binding(Some(("q", "u2")), "u1"), &[], 0, Err(&why));
    check(&binding(Some(("leaving", "u3")), "u1"), &[], 550, Ok(name));
    let why = format!("{gone}pods n/leaving is deleted");
    check(&binding(Some(("leaving", "u3")), "u1"), &[], 580, Err(&why));
}

#[test]
fn a_pods_token_outlives_its_end_for_this_server_alone() {
    let accounts = accounts();
    let start = UNIX_EPOCH + Duration::from_secs(500);
    for (audience, seconds, extended) in [
        ("https://iss", ADMISSION_SECONDS, true),
        ("https://iss", ADMISSION_SECONDS + 1, false),
        ("vault", ADMISSION_SECONDS, false),
    ] {
        let (audiences, lifetime) = ([audience.to_owned()], Duration::from_secs(seconds));
        let token = accounts.issue(&binding(None, "u1"), &audiences, start, lifetime).unwrap();
        let good = |after| accounts.authenticate_at(&token, &audiences, start + after).is_ok();
        assert!(good(lifetime) && !good(EXTENDED * 2));
        assert_eq!(good(lifetime * 3), extended, "{audience} {seconds}");
        let claims = jwt::verify(&token, &accounts.keys().verifiers).unwrap();
        let noted = claims["kubernetes.io"]["warnafter"].as_u64();
        assert_eq!(noted, extended.then_some(500 + seconds));
    }
}

#[test]
fn keys_are_replaced_in_steps_that_lock_nobody_out() {
    let pairs = [(); 2].map(|()| component::pki::signing_key().unwrap());
    let signer = |at: usize| Signer::from_pem(pairs[at].0.as_bytes()).unwrap();
    let both = format!("{}{}", pairs[0].1, pairs[1].1);
    let both = || Verifier::from_pem(both.as_bytes()).unwrap();
    let accounts = accounts();
    accounts.replace_keys(Keys::new(signer(0), vec![]));
    let now = UNIX_EPOCH + Duration::from_secs(500);
    let issue = || {
        let audiences = ["https://iss".to_owned()];
        accounts.issue(&binding(None, "u1"), &audiences, now, Duration::from_secs(600)).unwrap()
    };
    let good = |token: &str| accounts.authenticate_at(token, &[], now).is_ok();
    let first = issue();
    assert!(good(&first));
    accounts.replace_keys(Keys::new(signer(0), both()));
    assert!(good(&first) && good(&issue()));
    accounts.replace_keys(Keys::new(signer(1), both()));
    let second = issue();
    assert!(good(&first) && good(&second));
    accounts.replace_keys(Keys::new(signer(1), vec![]));
    assert!(!good(&first) && good(&second), "what is remembered of the old one is forgotten");
}
