//! What `nft -j list ruleset` prints (libnftables-json(5)), as far as it is simple.

use std::net::IpAddr;

use nke_ebpf::Refusal;
use serde_json::Value;

use super::super::conditions::{Dscp, IcmpKind};
use super::super::further::{Asked, Test};
use super::super::names;
use super::super::rule::{Action, PortRange, Protocol, Way};
use super::chains::{Chain, Read, Rule, Target, flattened};
use super::line::{Matches, Net};
use super::{Foreign, Imported, Wanted};

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

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
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
                rules: rules.map(|rule| self.rule(rule)).collect(),
            }
        });
        chains.collect()
    }

    fn rule(&self, rule: &Value) -> Rule {
        let empty = Vec::new();
        let expressions = rule["expr"].as_array().unwrap_or(&empty);
        let texts: Vec<_> = expressions.iter().map(Value::to_string).collect();
        Rule {
            place: format!("chain {}, handle {}", word(&rule["chain"]), rule["handle"]),
            text: texts.join(" "),
            read: self.read(expressions),
        }
    }

    fn read(&self, expressions: &[Value]) -> Result<Read, String> {
        let (mut matches, mut log, mut target) = (Matches::default(), false, Target::None);
        for expression in expressions {
            let refused = || expression.to_string();
            let entry = expression.as_object().and_then(|it| it.iter().next());
            let (kind, value) = entry.ok_or_else(refused)?;
            if target != Target::None {
                return Err(format!("{expression} behind what ends the rule"));
            }
            match kind.as_str() {
                "match" => match self.narrow(&matches, value) {
                    Some(Some(narrowed)) => matches = narrowed,
                    Some(None) => return Ok(Read::Elsewhere),
                    None => return Err(refused()),
                },
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
        Ok(Read::Rule {
            matches: Box::new(matches),
            log,
            target,
        })
    }

    /// Adds a match: nothing if it cannot be said, and nothing within if no packet is like that.
    #[expect(clippy::option_option, reason = "both are different answers")]
    fn narrow(&self, matches: &Matches, value: &Value) -> Option<Option<Matches>> {
        if value["op"] != "==" {
            return None;
        }
        let mut by = Matches::default();
        let left = &value["left"];
        let right = self.values(&value["right"])?;
        if let Some(key) = left["meta"]["key"].as_str() {
            match key {
                "l4proto" => by.protocols = each(&right, protocol),
                "nfproto" | "protocol" => by.v6 = Some(family(&right)?),
                "iifname" | "oifname" if self.interface.is_none() => {
                    let own = (self.way == Some(Way::In)) == (key == "iifname");
                    let [name] = &right[..] else { return None };
                    let name = name.as_str().filter(|it| own && !it.ends_with('*'))?;
                    self.way?;
                    let what = Asked::On(name.parse().ok()?);
                    by.tests.push(Test { what, not: false });
                    return matches.narrowed(&by).map(Some);
                }
                "iifname" | "oifname" => {
                    let wanted = self.interface.filter(|_| {
                        (self.way == Some(Way::In)) == (key == "iifname") && self.way.is_some()
                    })?;
                    let names = each(&right, |it| it.as_str().map(str::to_owned))?;
                    if !names.iter().any(|name| is_interface(name, wanted)) {
                        return Some(None);
                    }
                    return Some(Some(matches.clone()));
                }
                _ => return None,
            }
            (by.protocols.is_some() || by.v6.is_some()).then_some(())?;
            return Some(matches.narrowed(&by));
        }
        let payload = &left["payload"];
        match (word(&payload["protocol"]), word(&payload["field"])) {
            ("ip", "protocol") | ("ip6", "nexthdr") => by.protocols = Some(each(&right, protocol)?),
            ("ip" | "ip6", field @ ("saddr" | "daddr")) => {
                let all: Vec<_> = each(&right, nets)?.into_iter().flatten().collect();
                by.nets(field == "saddr", all);
            }
            ("ip" | "ip6", "dscp") => by.dscp = Some(each(&right, dscp)?),
            ("icmp", "type") => by.icmp = Some(each(&right, |it| icmp(false, it))?),
            ("icmpv6", "type") => by.icmp = Some(each(&right, |it| icmp(true, it))?),
            (carrier, "sport") => {
                by.protocols = carried(carrier)?;
                by.source_ports = Some(each(&right, ports)?);
            }
            (carrier, "dport") => {
                by.protocols = carried(carrier)?;
                by.destination_ports = Some(each(&right, ports)?);
            }
            _ => return None,
        }
        match word(&payload["protocol"]) {
            "ip" => by.v6 = Some(false),
            "ip6" => by.v6 = Some(true),
            _ => {}
        }
        Some(matches.narrowed(&by))
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

fn each<T>(values: &[Value], read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let all: Option<Vec<_>> = values.iter().map(read).collect();
    all.filter(|all| !all.is_empty())
}

fn protocol(value: &Value) -> Option<Protocol> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    number
        .or_else(|| names::protocol(word(value)))
        .map(Protocol)
}

/// The protocol that a match of ports is about: nothing within if any will do.
#[expect(clippy::option_option, reason = "any protocol is an answer")]
fn carried(name: &str) -> Option<Option<Vec<Protocol>>> {
    match name {
        "th" => Some(None),
        "tcp" | "udp" | "sctp" | "dccp" | "udplite" => {
            Some(names::protocol(name).map(|number| vec![Protocol(number)]))
        }
        _ => None,
    }
}

fn dscp(value: &Value) -> Option<Dscp> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    number
        .or_else(|| names::dscp(word(value)))
        .and_then(Dscp::new)
}

fn icmp(v6: bool, value: &Value) -> Option<IcmpKind> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    let kind = number.or_else(|| names::icmp(v6, word(value)))?;
    let code = None;
    Some(IcmpKind { v6, kind, code })
}

/// Whether it is IPv6.
fn family(values: &[Value]) -> Option<bool> {
    let [value] = values else {
        return None;
    };
    match word(value) {
        "ipv4" | "ip" => Some(false),
        "ipv6" | "ip6" => Some(true),
        _ => None,
    }
}

/// `eth*` is every name that begins so.
fn is_interface(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn nets(value: &Value) -> Option<Vec<Net>> {
    if let Some(prefix) = value.get("prefix") {
        let address: IpAddr = word(&prefix["addr"]).parse().ok()?;
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return Net::new(address, length).map(|net| vec![net]);
    }
    if let Some([first, last]) = value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return Net::range(word(first).parse().ok()?, word(last).parse().ok()?);
    }
    Net::parse(word(value)).map(|net| vec![net])
}

fn ports(value: &Value) -> Option<PortRange> {
    if let Some([first, last]) = value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return PortRange::new(port(first)?, port(last)?);
    }
    port(value).map(PortRange::one)
}

fn port(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.or_else(|| names::port(word(value)))
}
