use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn response(kind: &str, duration: Option<&str>, user: &str) -> Response {
    let text = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderResponse",
        "cacheKeyType": kind,
        "cacheDuration": duration,
        "auth": {"host": {"username": user, "password": "p"}},
    });
    read(text.to_string().as_bytes(), "credentialprovider.kubelet.k8s.io/v1").unwrap()
}

#[test]
fn answers_are_kept_for_what_they_are_good_for_and_as_long() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let default = Duration::from_secs(10);
    let user = |cache: &mut Cache, image: &str, second| {
        cache.get("a", image, after(second)).map(|auth| auth["host"].username.clone())
    };
    let mut cache = Cache::default();
    cache.put("a", "host/a", &response("Image", None, "image"), default, start);
    assert_eq!(user(&mut cache, "host/a", 9).as_deref(), Some("image"));
    assert_eq!(user(&mut cache, "host/b", 9), None);
    cache.put("a", "host/a", &response("Registry", Some("20s"), "registry"), default, start);
    assert_eq!(user(&mut cache, "host/a", 9).as_deref(), Some("image"), "the narrowest");
    assert_eq!(user(&mut cache, "host/b", 9).as_deref(), Some("registry"));
    cache.put("a", "host/a", &response("Global", Some("1h"), "global"), default, start);
    assert_eq!(user(&mut cache, "other/b", 9).as_deref(), Some("global"));
    assert_eq!(user(&mut cache, "host/a", 10).as_deref(), Some("registry"));
    assert_eq!(user(&mut cache, "host/a", 20).as_deref(), Some("global"));
    assert_eq!(user(&mut cache, "host/a", 3600), None);
    cache.put("a", "host/a", &response("Image", Some("0s"), "never"), default, start);
    assert_eq!(user(&mut cache, "host/a", 0), None, "zero means not at all");
}

#[test]
fn answers_for_one_account_are_nobody_elses() {
    let now = Instant::now();
    let mut cache = Cache::default();
    let hour = Duration::from_secs(3600);
    cache.put("a", "host/a", &response("Global", None, "a"), hour, now);
    assert!(cache.get("a", "host/b", now).is_some());
    assert_eq!(cache.get("b", "host/a", now), None);
    assert_eq!(cache.get("", "host/a", now), None);

    let attributes = |kind: &str| -> TokenAttributes {
        serde_json::from_value(json!({"cacheType": kind})).unwrap()
    };
    let account = |token: &str| Account {
        uid: "u".into(),
        annotations: BTreeMap::new(),
        token: token.into(),
    };
    let whose = |kind: &str, token: &str| whose(Some(&account(token)), Some(&attributes(kind)));
    assert_eq!(whose("ServiceAccount", "1"), whose("ServiceAccount", "2"));
    assert_ne!(whose("Token", "1"), whose("Token", "2"));
    assert_eq!(super::whose(None, Some(&attributes("Token"))), "");
}

#[test]
fn answers_of_another_kind_are_refused() {
    let v1 = "credentialprovider.kubelet.k8s.io/v1";
    for (text, wanted) in [
        ("".to_owned(), "error decoding"),
        (r#"{"kind": "CredentialProviderResponse", "apiVersion": "x/v1", "cacheKeyType": "Image"}"#.to_owned(),
         "did not match expected apiVersion:credentialprovider.kubelet.k8s.io/v1, actual apiVersion:x/v1"),
        (format!(r#"{{"kind": "CredentialProviderResponse", "apiVersion": "{v1}", "cacheKeyType": "Some"}}"#),
         "unknown variant `Some`"),
    ] {
        let error = read(text.as_bytes(), v1).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_program_is_asked_for_its_images_only_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"#!/bin/sh
read request
echo "$request" >> "$LOG"
[ "$1" = --say ] || exit 1
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",
"cacheKeyType":"Registry","auth":{"*.example":{"username":"u","password":"'"$PASSWORD"'"}}}'
"#;
    let program = folder.path().join("helper");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let log = folder.path().join("log");
    let config: Provider = serde_json::from_value(json!({
        "name": "helper",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": ["*.example"],
        "defaultCacheDuration": "1h",
        "args": ["--say"],
        "env": [{"name": "LOG", "value": log}, {"name": "PASSWORD", "value": "secret"}],
    }))
    .unwrap();
    let accounts = Accounts::new(None, crate::token::Tokens::new(None));
    let pod = Requester::of(&serde_json::from_value(json!({"spec": {"containers": []}})).unwrap());
    let plugin = Plugin::new(config.clone(), folder.path());
    assert!(plugin.credentials("other.io/x", &pod, &accounts).await.is_empty());
    assert!(!log.exists(), "not asked");
    for image in ["reg.example/x", "reg.example/y"] {
        let found = plugin.credentials(image, &pod, &accounts).await;
        let auth = &found[0].auth;
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "secret"));
        assert_eq!(found[0].source, Source::Node);
    }
    let asked = std::fs::read_to_string(&log).unwrap();
    let request: serde_json::Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(
        request,
        json!({"kind": "CredentialProviderRequest", "image": "reg.example/x",
               "apiVersion": "credentialprovider.kubelet.k8s.io/v1"})
    );
    let mut account = config.clone();
    let attributes = json!({"requireServiceAccount": true, "serviceAccountTokenAudience": "r"});
    account.token_attributes = Some(serde_json::from_value(attributes).unwrap());
    let needing = Plugin::new(account, folder.path());
    assert!(needing.credentials("reg.example/x", &pod, &accounts).await.is_empty());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), asked, "not asked for a Pod without one");
    let account = Account {
        uid: "u".into(),
        annotations: [("k".to_owned(), "v".to_owned())].into(),
        token: "t".into(),
    };
    plugin.ask("reg.example/z", Some(&account)).await.unwrap();
    let asked = std::fs::read_to_string(&log).unwrap();
    let request: serde_json::Value =
        serde_json::from_str(asked.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(request["serviceAccountToken"], "t");
    assert_eq!(request["serviceAccountAnnotations"], json!({"k": "v"}));
    let mut silent = config;
    silent.args.clear();
    let silent = Plugin::new(silent, folder.path());
    assert!(silent.credentials("reg.example/x", &pod, &accounts).await.is_empty());
    let error = silent.ask("reg.example/x", None).await.unwrap_err().to_string();
    assert!(error.starts_with("error execing credential provider plugin helper: exit status: 1"));
}
