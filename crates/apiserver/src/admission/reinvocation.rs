//! The two rounds of mutating admission,
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#reinvocation-policy>.
//!
//! What somebody changes must be as the others want it. Those who wish are therefore asked once
//! more about an object that changed after their turn. Pure.

use std::collections::HashSet;

use machinery::Value;

/// The rounds of policies, or of webhooks, for one request.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    is_second: bool,
    /// Who wants to be asked again if the object changes now.
    asked: HashSet<String>,
    /// Who is to be asked again.
    again: HashSet<String>,
    /// The object as the first round left it, if anybody wants to hear of later changes.
    output: Option<Value>,
    changed: bool,
}

impl Rounds {
    /// Whether somebody changed the object, so that everybody has to look at it once more.
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    /// Whether `id` has a turn in this round.
    pub(crate) fn concerns(&self, id: &str) -> bool {
        !self.is_second || self.again.contains(id)
    }

    /// `id` had its turn. `again` if it wants to be asked about what changes afterwards.
    pub(crate) fn asked(&mut self, id: &str, changed: bool, again: bool) {
        if changed {
            self.changed = true;
            self.again.extend(self.asked.drain());
        }
        if again {
            self.asked.insert(id.to_owned());
        }
    }

    /// The first round is over.
    pub(crate) fn end(&mut self, object: Option<&Value>) {
        self.output = object.filter(|_| !self.asked.is_empty()).cloned();
    }

    /// The second round begins. Who else is mutating has had a turn meanwhile.
    pub(crate) fn begin_second(&mut self, object: Option<&Value>) {
        self.is_second = true;
        if self.output.as_ref() != object {
            self.again.extend(self.asked.drain());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Who has a turn in the second round. Each of the first round is a name, whether it changes
    /// the object, and whether it wants to be asked again.
    fn second(first: &[(&str, bool, bool)], changed_between: bool) -> Vec<String> {
        let mut rounds = Rounds::default();
        for (name, changed, again) in first {
            assert!(rounds.concerns(name));
            rounds.asked(name, *changed, *again);
        }
        rounds.end(Some(&json!(1)));
        rounds.begin_second(Some(&json!(if changed_between { 2 } else { 1 })));
        let named = first.iter().filter(|(name, ..)| rounds.concerns(name));
        named.map(|(name, ..)| (*name).to_owned()).collect()
    }

    #[test]
    fn who_is_asked_again() {
        let (a, b) = (("a", false, true), ("b", true, false));
        assert_eq!(second(&[a, b], false), ["a"]);
        assert_eq!(second(&[b, a], false), [""; 0], "nothing changed after its turn");
        assert_eq!(second(&[b, a], true), ["a"], "others changed it");
        assert_eq!(second(&[("a", true, true)], false), [""; 0], "by itself only");
    }

    #[test]
    fn a_change_of_the_second_round_concerns_those_after_it() {
        let mut rounds = Rounds::default();
        rounds.asked("a", false, true);
        rounds.asked("b", true, true);
        rounds.end(None);
        rounds.begin_second(None);
        assert!(rounds.concerns("a") && !rounds.concerns("b"));
        rounds.asked("a", true, true);
        assert!(rounds.concerns("b"));
    }
}
