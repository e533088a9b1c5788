use super::*;
use serde_json::json;

fn query(name: &str, edns: Option<u16>) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        query.set_edns(edns);
    }
    query
}

fn big() -> (Zone, Index) {
    let mut index = Index::default();
    let service = json!({ "metadata": { "namespace": "n", "name": "s" },
                          "spec": { "clusterIP": "None" } });
    index.set_service(&serde_json::from_value(service).unwrap());
    let endpoints: Vec<_> =
        (0..100).map(|i| json!({ "addresses": [format!("10.0.0.{i}")] })).collect();
    let slice = json!({ "metadata": { "namespace": "n", "name": "s",
        "labels": { "kubernetes.io/service-name": "s" } }, "addressType": "IPv4",
        "endpoints": endpoints });
    index.set_slice(&serde_json::from_value(slice).unwrap());
    (Zone::new("cluster.local").unwrap(), index)
}

fn reply(bytes: &[u8], transport: Transport) -> (usize, Message) {
    let (zone, index) = big();
    match handle(&zone, &index, bytes, transport) {
        Action::Reply(bytes, _) => (bytes.len(), Message::from_vec(&bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn responses_fit_what_the_client_takes() {
    for (edns, transport, truncated) in [
        (None, Transport::Udp, true),
        (Some(100), Transport::Udp, true),
        (Some(1232), Transport::Udp, true),
        (Some(4096), Transport::Udp, false),
        (None, Transport::Tcp, false),
    ] {
        let asked = query("s.n.svc.cluster.local.", edns);
        let (size, response) = reply(&asked.to_vec().unwrap(), transport);
        assert_eq!(response.metadata.truncation, truncated, "{edns:?}");
        assert_eq!(response.edns.is_some(), edns.is_some());
        assert_eq!(response.answers.len() == 100, !truncated);
        assert!(!response.answers.is_empty());
        if transport == Transport::Udp {
            assert!(size <= usize::from(edns.unwrap_or(0).max(512)), "{edns:?}: {size}");
        }
        assert_eq!(response.metadata.id, asked.metadata.id);
        assert_eq!(response.queries, asked.queries);
    }
}

#[test]
fn odd_messages_get_the_right_error() {
    let mut status = query("s.n.svc.cluster.local.", None);
    status.metadata.op_code = OpCode::Status;
    let two = {
        let mut q = query("a.", None);
        q.add_query(Query::query(Name::from_ascii("b.").unwrap(), RecordType::A));
        q
    };
    let chaos = {
        let mut q = query("version.bind.", None);
        q.queries[0].query_class = DNSClass::CH;
        q
    };
    for (message, code) in [
        (status, ResponseCode::NotImp),
        (two, ResponseCode::FormErr),
        (chaos, ResponseCode::Refused),
    ] {
        let (_, response) = reply(&message.to_vec().unwrap(), Transport::Udp);
        assert_eq!(response.metadata.response_code, code);
    }
    let (zone, index) = big();
    let garbage = [0x12, 0x34, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xff];
    let action = handle(&zone, &index, &garbage, Transport::Udp);
    assert!(matches!(action, Action::Reply(_, ResponseCode::FormErr)), "{action:?}");
    let mut response = query("a.", None);
    response.metadata.message_type = MessageType::Response;
    for bytes in [&response.to_vec().unwrap()[..], b"", b"short"] {
        let action = handle(&zone, &index, bytes, Transport::Udp);
        assert!(matches!(action, Action::Ignore), "{action:?}");
    }
}

#[test]
fn other_names_are_forwarded() {
    let (zone, index) = big();
    let bytes = query("example.com.", None).to_vec().unwrap();
    let action = handle(&zone, &index, &bytes, Transport::Udp);
    assert!(matches!(action, Action::Forward(_)), "{action:?}");
}
