//! Conversations at random: any layout, any features, anybody writing anywhere at
//! any moment.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::conversation::Conversation;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 4 } else { 4000 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn conversations_cost_no_token(
        conversation in vec(any::<u8>(), 3..if cfg!(miri) { 150 } else { 600 }).prop_map(|bytes| Conversation::from_bytes(&bytes))
    ) {
        conversation.hold();
    }
}
