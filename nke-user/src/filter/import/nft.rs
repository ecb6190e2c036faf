//! What `nft -j list ruleset` prints (libnftables-json(5)), as far as it is simple.

mod fields;

use nke_ebpf::Refusal;
use serde_json::Value;

use self::fields::{
    carried, dscp, each, family, flags, icmp, is_interface, mac, mark, nets, ports, protocol, vlan,
    word,
};
use super::super::further::{Asked, Test};
use super::super::rule::{Action, PortRange, Way};
use super::chains::{Chain, Read, Rule, Target, flattened};
use super::line::Matches;
use super::{Foreign, Imported, KEEP_STATE, Wanted, limits};

pub(super) fn read(text: &str, wanted: &Wanted) -> Result<Imported, Foreign> {
    let ruleset: Value = serde_json::from_str(text).map_err(|error| Foreign::Json {
        problem: error.to_string(),
    })?;
    let objects = ruleset["nftables"].as_array().ok_or(Foreign::Unknown)?;
    let all = || objects.iter().filter_map(|object| object.get("chain"));
    let name = |it: &Value| {
        ["family", "table", "name"]
            .map(|key| word(&it[key]))
            .join(" ")
    };
    let is_wanted = |it: &&Value| match &wanted.chain {
        Some(chain) => name(it) == *chain || word(&it["name"]) == chain,
        None => it["hook"] == "input",
    };
    let mut matching = all().filter(is_wanted);
    let (Some(chain), None) = (matching.next(), matching.next()) else {
        let chain = wanted
            .chain
            .as_deref()
            .unwrap_or("with the hook input, or no single one");
        return Err(Foreign::NoChain {
            chain: chain.to_owned(),
            known: all().map(name).collect(),
        });
    };
    let reader = Reader {
        objects,
        table: [&chain["family"], &chain["table"]],
        interface: wanted.interface.as_deref(),
        way: match word(&chain["hook"]) {
            "input" | "prerouting" | "ingress" => Some(Way::In),
            "output" | "postrouting" | "egress" => Some(Way::Out),
            _ => None,
        },
    };
    let chains = reader.chains();
    let base = Matches {
        way: reader.way,
        v6: match word(&chain["family"]) {
            "ip" => Some(false),
            "ip6" => Some(true),
            _ => None,
        },
        ..Matches::default()
    };
    let found = chains.iter().find(|it| chain["name"] == it.name);
    let only_ip = matches!(word(&chain["family"]), "ip" | "ip6" | "inet");
    found.map_or(Err(Foreign::Unknown), |found| {
        flattened(&chains, found, base, (only_ip, wanted))
    })
}

/// What `reject` tells; of what has no name here, what is nearest.
fn refusal(value: &Value) -> Option<Refusal> {
    Some(match (word(&value["type"]), word(&value["expr"])) {
        ("tcp reset", _) => Refusal::Usual,
        (_, "" | "port-unreachable" | "prot-unreachable") => Refusal::Port,
        (_, "host-unreachable" | "addr-unreachable") => Refusal::Host,
        (_, "net-unreachable" | "no-route") => Refusal::NoRoute,
        (
            _,
            "net-prohibited" | "host-prohibited" | "admin-prohibited" | "policy-fail"
            | "reject-route",
        ) => Refusal::Admin,
        _ => return None,
    })
}

struct Reader<'a> {
    objects: &'a [Value],
    /// Family and name.
    table: [&'a Value; 2],
    interface: Option<&'a str>,
    way: Option<Way>,
}

impl Reader<'_> {
    /// What there is of a kind in the table.
    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        let [family, table] = self.table;
        let all = self.objects.iter().filter_map(move |it| it.get(kind));
        all.filter(move |it| it["family"] == *family && it["table"] == *table)
    }

    fn chains(&self) -> Vec<Chain> {
        let chains = self.of_kind("chain").map(|chain| {
            let rules = self
                .of_kind("rule")
                .filter(|rule| rule["chain"] == chain["name"]);
            Chain {
                name: word(&chain["name"]).to_owned(),
                policy: match word(&chain["policy"]) {
                    "drop" => Some(Action::Drop),
                    "accept" => Some(Action::Pass),
                    _ => None,
                },
                rules: rules.flat_map(|rule| self.rules(rule)).collect(),
            }
        });
        chains.collect()
    }

    /// A rule; as several, of which a packet matches one at most, if it asks for one of several things.
    fn rules(&self, rule: &Value) -> Vec<Rule> {
        let empty = Vec::new();
        let expressions = rule["expr"].as_array().unwrap_or(&empty);
        let texts: Vec<_> = expressions.iter().map(Value::to_string).collect();
        let one = |read| Rule {
            place: format!("chain {}, handle {}", word(&rule["chain"]), rule["handle"]),
            text: texts.join(" "),
            read,
        };
        match self.read(expressions) {
            Ok(all) => all.into_iter().map(|read| one(Ok(read))).collect(),
            Err(reason) => vec![one(Err(reason))],
        }
    }

    fn read(&self, expressions: &[Value]) -> Result<Vec<Read>, String> {
        let (mut all, mut log, mut target) = (vec![Matches::default()], false, Target::None);
        let mut limit: Option<Test> = None;
        for expression in expressions {
            let refused = || expression.to_string();
            let entry = expression.as_object().and_then(|it| it.iter().next());
            let (kind, value) = entry.ok_or_else(refused)?;
            if target != Target::None {
                return Err(format!("{expression} behind what ends the rule"));
            }
            match kind.as_str() {
                // Here a limit is asked last: what does not match takes nothing of it.
                "match" | "limit" if limit.is_some() => {
                    return Err(format!("{expression} behind a limit"));
                }
                "match" if asks_for_known(value) => return Err(KEEP_STATE.to_owned()),
                "match" => {
                    let (by, not) = self.asked(value).ok_or_else(refused)?;
                    let both = all
                        .iter()
                        .flat_map(|one| by.iter().map(|by| one.narrowed(by)));
                    all = both.flatten().collect();
                    if !not.is_empty() {
                        all.iter_mut().for_each(|one| one.tests.extend(&not));
                    }
                }
                "limit" if log => return Err(format!("{expression} behind a log")),
                "limit" => limit = Some(limits::of_nft(value).ok_or_else(refused)?),
                "counter" => {}
                "log" => log = true,
                "accept" => target = Target::Ends(Action::Pass),
                "drop" => target = Target::Ends(Action::Drop),
                "reject" => target = Target::Rejects(refusal(value).ok_or_else(refused)?),
                "return" => target = Target::Returns,
                "jump" => target = Target::GoesTo(word(&value["target"]).to_owned()),
                _ => return Err(refused()),
            }
        }
        if log && target == Target::None {
            target = Target::Logs;
        }
        if limit.is_some() && all.len() > 1 {
            return Err(super::MANY_LIMITS.to_owned());
        }
        all.iter_mut().for_each(|one| one.tests.extend(limit));
        let rule = |matches| Read::Rule {
            matches: Box::new(matches),
            log,
            target: target.clone(),
        };
        Ok(all.into_iter().map(rule).collect())
    }

    /// What a match asks: one of these, and none of what is behind; nothing if it cannot be said.
    fn asked(&self, value: &Value) -> Option<(Vec<Matches>, Vec<Test>)> {
        let (left, not) = (&value["left"], value["op"] == "!=");
        let (left, mask) = match left["&"].as_array().map(Vec::as_slice) {
            Some([left, mask]) => (left, Some(mask)),
            Some(_) => return None,
            None => (left, None),
        };
        let payload = &left["payload"];
        if payload["protocol"] == "tcp" && payload["field"] == "flags" {
            let right = match value["op"].as_str()? {
                "in" | "!" => vec![value["right"].clone()],
                _ => self.values(&value["right"])?,
            };
            let (all, not) = flags(word(&value["op"]), mask, &right)?;
            return one_of(all, not);
        }
        if !not && value["op"] != "==" {
            return None;
        }
        let right = self.values(&value["right"])?;
        let key = left["meta"]["key"].as_str();
        if key == Some("mark") {
            let all = each(&right, |it| mark(it, mask))?;
            return one_of(all.into_iter().map(Asked::Mark).collect(), not);
        }
        if mask.is_some() {
            return None;
        }
        // By index the kernel asks for; what is there is listed by its name.
        if let Some(key @ ("iif" | "oif" | "iifname" | "oifname")) = key {
            return self.on(key, &right, not);
        }
        let protocols = word(&payload["protocol"]);
        match (protocols, word(&payload["field"])) {
            ("ether", field @ ("saddr" | "daddr")) => {
                let asked = if field == "saddr" {
                    Asked::EtherFrom
                } else {
                    Asked::EtherTo
                };
                let all = each(&right, mac)?;
                return one_of(all.into_iter().map(asked).collect(), not);
            }
            // Where IP comes by, the kernel has taken tags off.
            ("vlan", "id") if matches!(word(self.table[0]), "bridge" | "netdev") => {
                let all = each(&right, vlan)?;
                return one_of(all.into_iter().map(Asked::Vlan).collect(), not);
            }
            _ => {}
        }
        let by = match key {
            Some(key) => self.of_meta(key, &right, not)?,
            None => of_payload(payload, &right, not)?,
        };
        Some((vec![by], Vec::new()))
    }

    /// What is asked of an interface.
    fn on(&self, key: &str, right: &[Value], not: bool) -> Option<(Vec<Matches>, Vec<Test>)> {
        let own = (self.way? == Way::In) == matches!(key, "iif" | "iifname");
        let names = each(right, |it| it.as_str().map(str::to_owned)).filter(|_| own)?;
        let Some(wanted) = self.interface else {
            let all: Option<Vec<_>> = names.iter().map(|name| name.parse().ok()).collect();
            let all = all.filter(|_| !names.iter().any(|name| name.ends_with('*')))?;
            return one_of(all.into_iter().map(Asked::On).collect(), not);
        };
        let is = names.iter().any(|name| is_interface(name, wanted));
        let all = if is == not {
            Vec::new()
        } else {
            vec![Matches::default()]
        };
        Some((all, Vec::new()))
    }

    /// What is asked of a packet's kind.
    fn of_meta(&self, key: &str, right: &[Value], not: bool) -> Option<Matches> {
        let mut by = Matches::default();
        match key {
            "l4proto" if not => {
                let all = each(right, protocol)?;
                by.tests = all
                    .into_iter()
                    .map(Asked::Protocol)
                    .map(Test::not)
                    .collect();
            }
            "l4proto" => by.protocols = Some(each(right, protocol)?),
            "nfproto" | "protocol" if !not => by.v6 = Some(family(right)?),
            _ => return None,
        }
        Some(by)
    }

    /// All that a right side means: itself, or what is in a set.
    fn values(&self, right: &Value) -> Option<Vec<Value>> {
        if let Some(name) = right.as_str().and_then(|it| it.strip_prefix('@')) {
            let set = self.of_kind("set").find(|set| set["name"] == name)?;
            let members = set["elem"].as_array()?;
            let plain = members.iter().map(|it| it["elem"].get("val").unwrap_or(it));
            return Some(plain.cloned().collect());
        }
        match right.get("set") {
            Some(members) => members.as_array().cloned(),
            None => Some(vec![right.clone()]),
        }
    }
}

/// Whether it asks for what goes on: what `keep state` is for.
fn asks_for_known(value: &Value) -> bool {
    let right = &value["right"];
    let all = right.get("set").unwrap_or(right);
    let word = std::slice::from_ref(all);
    let all = all.as_array().map_or(word, Vec::as_slice);
    let known = |it: &Value| it == "established" || it == "related";
    let says = value["op"] == "in" || value["op"] == "==";
    says && value["left"]["ct"]["key"] == "state" && all.iter().all(known)
}

/// One of these, or none of them.
fn one_of(all: Vec<Asked>, not: bool) -> Option<(Vec<Matches>, Vec<Test>)> {
    if not {
        let tests = all.into_iter().map(Test::not).collect();
        return Some((vec![Matches::default()], tests));
    }
    let one = |what| Matches {
        tests: vec![Test { what, not: false }],
        ..Matches::default()
    };
    Some((all.into_iter().map(one).collect(), Vec::new()))
}

/// What is asked of a packet's headers.
fn of_payload(payload: &Value, right: &[Value], not: bool) -> Option<Matches> {
    let mut by = Matches::default();
    let none_of = |all: Vec<Asked>| all.into_iter().map(Test::not).collect::<Vec<_>>();
    let carrier = word(&payload["protocol"]);
    match (carrier, word(&payload["field"])) {
        ("ip", "protocol") if not => {
            by.tests = none_of(each(right, |it| protocol(it).map(Asked::Protocol))?);
        }
        // Of IPv6, it is the header behind, whatever follows that.
        ("ip", "protocol") => by.protocols = Some(each(right, protocol)?),
        ("ip6", "nexthdr") if !not => by.protocols = Some(each(right, protocol)?),
        ("ip" | "ip6", field @ ("saddr" | "daddr")) => {
            let all: Vec<_> = each(right, nets)?.into_iter().flatten().collect();
            if !not {
                by.nets(field == "saddr", all);
            } else if all.iter().any(|net| net.is_all()) {
                return None;
            } else {
                let asked = if field == "saddr" {
                    Asked::Source
                } else {
                    Asked::Destination
                };
                by.tests = none_of(all.into_iter().map(|net| asked(net.into())).collect());
            }
        }
        ("ip" | "ip6", "dscp") if not => {
            by.tests = none_of(each(right, |it| dscp(it).map(Asked::Dscp))?);
        }
        ("ip" | "ip6", "dscp") => by.dscp = Some(each(right, dscp)?),
        (of @ ("icmp" | "icmpv6"), "type") => {
            let all = each(right, |it| icmp(of == "icmpv6", it))?;
            if not {
                by.tests = none_of(all.into_iter().map(Asked::Icmp).collect());
            } else {
                by.icmp = Some(all);
            }
        }
        (_, field @ ("sport" | "dport")) => {
            by.protocols = carried(carrier)?;
            let all = each(right, ports)?;
            let all = if not { PortRange::all_but(&all) } else { all };
            let all = Some(all).filter(|all| !all.is_empty())?;
            match field {
                "sport" => by.source_ports = Some(all),
                _ => by.destination_ports = Some(all),
            }
        }
        _ => return None,
    }
    match carrier {
        "ip" => by.v6 = Some(false),
        "ip6" => by.v6 = Some(true),
        _ => {}
    }
    Some(by)
}
