//! The negotiated features that change how a ring works.

use virtscope_record::FeatureBits;

/// What both halves of a queue must agree on, beside its layout and size
/// (virtio 1.4 §6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features {
    /// `VIRTIO_F_EVENT_IDX`: suppress notifications by index, not by flag.
    pub event_idx: bool,
    /// `VIRTIO_F_INDIRECT_DESC`: a buffer's segments may stand in a table of their
    /// own.
    pub indirect: bool,
    /// `VIRTIO_F_IN_ORDER`: buffers are used in the order they were made
    /// available.
    pub in_order: bool,
}

impl Features {
    /// Those among `negotiated`.
    pub const fn from_bits(negotiated: FeatureBits) -> Self {
        Self {
            event_idx: negotiated.contains(FeatureBits::EVENT_IDX),
            indirect: negotiated.contains(FeatureBits::INDIRECT_DESC),
            in_order: negotiated.contains(FeatureBits::IN_ORDER),
        }
    }
}
