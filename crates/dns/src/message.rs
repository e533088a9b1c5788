//! From the bytes of a query to the bytes of its response. Pure, but for what is forwarded.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::index::Index;
use crate::zone::{Answer, Sections, Zone};

/// The largest UDP response without fragments on common links.
const OWN_PAYLOAD: u16 = 1232;
/// Clients that claim more do not get more in one datagram.
const MAX_PAYLOAD: u16 = 4096;
/// A response over TCP.
const MAX_TCP: usize = u16::MAX as usize;

/// How the query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What is to be done with a query.
#[derive(Debug)]
pub enum Action {
    /// Send this.
    Reply(Vec<u8>, ResponseCode),
    /// Ask another server, and pass its response on.
    Forward(Message),
    /// Ask another server for the addresses of a name, and append them to this response.
    Complete {
        /// The query.
        query: Message,
        /// The response so far.
        sections: Sections,
        /// The name to ask for.
        target: Name,
    },
    /// Say nothing: not a query.
    Ignore,
}

/// Decides about a message.
pub fn handle(zone: &Zone, index: &Index, bytes: &[u8], transport: Transport) -> Action {
    let query = match Message::from_vec(bytes) {
        Ok(query) => query,
        Err(_) => return malformed(bytes),
    };
    if query.metadata.message_type != MessageType::Query {
        return Action::Ignore;
    }
    let refuse = |code| {
        let sections = Sections { code, ..Default::default() };
        Action::Reply(encode(&query, sections, transport), code)
    };
    if query.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    if query.version() > 0 {
        return refuse(ResponseCode::BADVERS);
    }
    let [question] = &query.queries[..] else { return refuse(ResponseCode::FormErr) };
    if question.query_class != DNSClass::IN {
        return refuse(ResponseCode::Refused);
    }
    // Whole zones are not given out.
    if matches!(question.query_type, RecordType::AXFR | RecordType::IXFR) {
        return refuse(ResponseCode::Refused);
    }
    let turn = usize::from(query.metadata.id);
    match zone.answer(index, &question.name, question.query_type, turn) {
        Answer::Here(sections) => {
            let code = sections.code;
            Action::Reply(encode(&query, sections, transport), code)
        }
        Answer::Continue(sections, target) => Action::Complete { query, sections, target },
        Answer::Elsewhere => Action::Forward(query),
    }
}

/// The response to `query`, cut to what the client takes.
pub fn encode(query: &Message, sections: Sections, transport: Transport) -> Vec<u8> {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative =
        matches!(sections.code, ResponseCode::NoError | ResponseCode::NXDomain);
    response.metadata.response_code = sections.code;
    response.queries = query.queries.clone();
    response.answers = sections.answers;
    response.authorities = sections.authorities;
    response.additionals = sections.additionals;
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(OWN_PAYLOAD);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        edns.set_rcode_high(sections.code.high());
        response.edns = Some(edns);
    }
    let limit = match transport {
        Transport::Tcp => MAX_TCP,
        Transport::Udp => usize::from(query.max_payload().min(MAX_PAYLOAD)),
    };
    fit(response, limit)
}

/// An error response to `query`.
pub fn error(query: &Message, code: ResponseCode, transport: Transport) -> Vec<u8> {
    encode(query, Sections { code, ..Default::default() }, transport)
}

/// The query for the addresses of `target` that `query` leads to.
pub fn follow_up(query: &Message, target: &Name) -> Message {
    let mut next = Message::query();
    next.metadata.recursion_desired = true;
    let kind = query.queries.first().map_or(RecordType::A, |q| q.query_type);
    next.add_query(Query::query(target.clone(), kind));
    next
}

/// Leaves records out until the message fits, and says so when they were part of the answer.
fn fit(mut response: Message, limit: usize) -> Vec<u8> {
    loop {
        let Ok(bytes) = response.to_vec() else { return Vec::new() };
        if bytes.len() <= limit {
            return bytes;
        }
        // Additional records are a courtesy.
        if !response.additionals.is_empty() {
            response.additionals.clear();
            continue;
        }
        response.metadata.truncation = true;
        if response.answers.is_empty() {
            response.authorities.clear();
            response.edns = None;
            return response.to_vec().unwrap_or_default();
        }
        // Records of one answer are of about one size: this meets the limit in a step or two.
        let keep = response.answers.len() * limit / bytes.len();
        response.answers.truncate(keep.min(response.answers.len() - 1));
    }
}

/// A message whose header can be read deserves to hear that the rest cannot.
fn malformed(bytes: &[u8]) -> Action {
    let is_query = bytes.len() >= 12 && bytes[2] & 0x80 == 0;
    if !is_query {
        return Action::Ignore;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let response = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    match response.to_vec() {
        Ok(bytes) => Action::Reply(bytes, ResponseCode::FormErr),
        Err(_) => Action::Ignore,
    }
}

#[cfg(test)]
mod tests;
