//! When a command without an answer is sent again: at once to a node that came back, otherwise after 10 s and then twice
//! as long each time, up to five minutes. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::store::Pending;
use crate::base::Stamp;

const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(300);

/// What was sent and has no answer.
#[derive(Default)]
pub(super) struct Errands(HashMap<String, Sent>);

struct Sent {
    life: String,
    at: Stamp,
    wait: Duration,
}

impl Errands {
    /// Which of `pending`, all there are, go now.
    pub(super) fn step(&mut self, pending: Vec<Pending>, now: Stamp) -> Vec<Pending> {
        let mut before = std::mem::take(&mut self.0);
        let mut go = Vec::new();
        for command in pending {
            let sent = before.remove(&command.id).filter(|sent| sent.life == command.life);
            let (sent, due) = match sent {
                Some(sent) if now.since(sent.at) < sent.wait => (sent, false),
                Some(sent) => (Sent { at: now, wait: (sent.wait * 2).min(LAST), ..sent }, true),
                None => (Sent { life: command.life.clone(), at: now, wait: FIRST }, true),
            };
            self.0.insert(command.id.clone(), sent);
            if due {
                go.push(command);
            }
        }
        go
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(id: &str, life: &str) -> Pending {
        Pending { id: id.into(), node: "node-1".into(), life: life.into(), body: String::new() }
    }

    #[test]
    fn it_is_asked_again_ever_more_seldom_and_at_once_when_the_node_comes_back() {
        let mut errands = Errands::default();
        let at = |s: u64| Stamp { mono: Duration::from_secs(s), wall_ms: 0 };
        let mut asked = Vec::new();
        for second in 0..1000 {
            if !errands.step(vec![pending("a", "run 1")], at(second)).is_empty() {
                asked.push(second);
            }
        }
        assert_eq!(asked, [0, 10, 30, 70, 150, 310, 610, 910]);
        assert_eq!(errands.step(vec![pending("a", "run 2")], at(1000)).len(), 1, "another run");
        assert_eq!(errands.step(vec![pending("a", "run 2")], at(1009)).len(), 0);
        assert_eq!(errands.step(vec![pending("a", "run 2")], at(1010)).len(), 1, "the waits begin anew");
        assert_eq!(errands.step(vec![], at(1011)).len(), 0);
        assert_eq!(errands.step(vec![pending("a", "run 2")], at(1012)).len(), 1, "it was away in between");
    }
}
