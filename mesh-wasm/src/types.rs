//! The TypeScript types of what goes in and comes out, by hand: generated ones would say `any`.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &'static str = include_str!("types.d.ts");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use mesh_core::agent::{AddressError, AdmissionError};
    use mesh_core::{
        JsonError, LossReason, MeshError, PeerId, SendError, TimeoutReason, TrackError,
    };
    use serde::Deserialize as _;
    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    wasm_bindgen_test_configure!(run_in_browser);

    const TYPES: &str = include_str!("types.d.ts");

    /// Everything that makes a `MeshError`.
    const SOURCES: [&str; 8] = [
        include_str!("../js/index.js"),
        include_str!("arguments.rs"),
        include_str!("error.rs"),
        include_str!("events.rs"),
        include_str!("hub_url.rs"),
        include_str!("join.rs"),
        include_str!("payload.rs"),
        include_str!("sender.rs"),
    ];

    /// The texts in quotes that follow a word.
    fn quoted_after<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
        let after = text.split(word).skip(1);
        after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
    }

    #[wasm_bindgen_test]
    fn the_declared_codes_are_those_of_all_errors() {
        let ours = SOURCES.iter().flat_map(|source| {
            quoted_after(source, "error(").chain(quoted_after(source, "code: "))
        });
        let of_core = [
            SendError::NotJoined,
            SendError::ToSelf,
            SendError::UnknownPeer(PeerId::from_bytes([0; 32])),
            SendError::TooLarge {
                bytes: 0,
                bytes_max: 0,
            },
            SendError::Json(JsonError::Invalid),
            SendError::TopicTooLong {
                bytes: 0,
                bytes_max: 0,
            },
            SendError::RateLimited(Duration::ZERO),
            SendError::UnknownRequest,
            SendError::Deadline(Duration::ZERO),
        ];
        let of_core = of_core.map(MeshError::Send).into_iter();
        let of_calls = [
            MeshError::NoReply(LossReason::Deadline),
            MeshError::NotDelivered(LossReason::TooLarge),
            MeshError::Track(TrackError::NotLinked(PeerId::from_bytes([0; 32]))),
            MeshError::Track(TrackError::TooMany(8)),
            MeshError::Track(TrackError::Ended),
            MeshError::Closed,
        ];
        let of_join = {
            let (url, reason) = (String::new, String::new);
            let (code, message) = (String::new(), String::new());
            [
                AddressError::new("", reason()).code(),
                AdmissionError::NotAHub {
                    url: url(),
                    reason: reason(),
                }
                .code(),
                AdmissionError::OriginRefused {
                    url: url(),
                    reason: reason(),
                }
                .code(),
                AdmissionError::Unreachable {
                    url: url(),
                    reason: reason(),
                }
                .code(),
                AdmissionError::Refused { code, message }.code(),
                AdmissionError::Ended.code(),
            ]
        };
        let of_mesh = of_core.chain(of_calls).map(MeshError::code);
        let made: BTreeSet<_> = ours.chain(of_mesh).chain(of_join).collect();
        let declared = TYPES
            .split_once("export type MeshErrorCode =")
            .expect("it is there")
            .1;
        let declared = declared.split_once(';').expect("it ends").0;
        let declared: BTreeSet<_> = quoted_after(declared, "|").collect();
        assert_eq!(declared, made);
    }

    #[wasm_bindgen_test]
    fn the_declared_reasons_to_wake_are_those_of_the_core() {
        let unknown = serde::de::value::StrDeserializer::<serde::de::value::Error>::new("?");
        let refused = TimeoutReason::deserialize(unknown).expect_err("there is no such reason");
        let listed = refused.to_string(); // unknown variant `?`, expected one of `signaling`, ...
        let known: BTreeSet<_> = listed.split('`').skip(3).step_by(2).collect();
        let (_, declared) = TYPES
            .split_once("export type TimeoutReason =")
            .expect("it is there");
        let declared = declared.split_once(';').expect("it ends").0;
        let declared: BTreeSet<_> = quoted_after(declared, "|").collect();
        assert!(known.contains("keepalive"), "{listed}");
        assert_eq!(declared, known);
    }
}
