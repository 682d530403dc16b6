//! Reading and writing configuration space (virtio 1.4 §2.5).

use virtscope_record::FeatureBits;

use super::{Device, InitError};

/// How often a read is begun anew because the configuration changed meanwhile.
const ATTEMPTS: usize = 16;

macro_rules! read {
    ($name:ident, $number:ty) => {
        #[doc = concat!("The little-endian field of ", stringify!($number), " at `offset`.")]
        ///
        /// # Errors
        /// As for [`read_config`](Self::read_config).
        pub fn $name(&self, offset: usize) -> Result<$number, InitError> {
            let mut bytes = [0; size_of::<$number>()];
            self.read_config(offset, &mut bytes)?;
            Ok(<$number>::from_le_bytes(bytes))
        }
    };
}

impl Device {
    /// Reads configuration space from `offset` on as one consistent whole: again if it
    /// changed meanwhile (virtio 1.4 §2.5.1). Space behind it, which newer devices
    /// have, is no concern of ours.
    ///
    /// # Errors
    /// The space ends before, or changed every time.
    pub fn read_config(&self, offset: usize, into: &mut [u8]) -> Result<(), InitError> {
        let transport = self.transport();
        let needed = offset.saturating_add(into.len());
        for _ in 0..ATTEMPTS {
            let before = transport.config_generation();
            let len = transport.config_len();
            if needed > len {
                return Err(InitError::ConfigTooShort { needed, len });
            }
            transport.read_config(offset, into);
            if transport.config_generation() == before {
                return Ok(());
            }
        }
        Err(InitError::ConfigUnstable)
    }

    /// [`read_config`](Self::read_config) of a field that is there only with
    /// `feature`: it is not touched unless the feature was agreed on (virtio 1.4
    /// §2.5.1).
    ///
    /// # Errors
    /// It was not; else as for `read_config`.
    pub fn read_config_with(
        &self,
        feature: FeatureBits,
        offset: usize,
        into: &mut [u8],
    ) -> Result<(), InitError> {
        if !self.features().contains(feature) {
            return Err(InitError::ConfigNotOffered { feature });
        }
        self.read_config(offset, into)
    }

    read!(read_config_u8, u8);
    read!(read_config_u16, u16);
    read!(read_config_u32, u32);
    read!(read_config_u64, u64);

    /// Writes configuration space from `offset` on. A driver has its device only after
    /// `FEATURES_OK`, so nothing is written earlier (virtio 1.4 §3.1.1, step 4).
    ///
    /// # Errors
    /// The space ends before, or the device was reset since.
    pub fn write_config(&self, offset: usize, from: &[u8]) -> Result<(), InitError> {
        self.alive()?;
        let len = self.transport().config_len();
        let needed = offset.saturating_add(from.len());
        if needed > len {
            return Err(InitError::ConfigTooShort { needed, len });
        }
        self.transport().write_config(offset, from);
        Ok(())
    }
}
