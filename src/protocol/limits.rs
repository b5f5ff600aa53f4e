//! The sizes and counts that the protocol fixes or sets as defaults.

/// The largest body of a message, decoded: 16,384 bytes, the largest size sealed messages come in.
pub const MAX_DATA_BYTES: usize = 16_384;

/// The largest body of a request. The largest `send` is 16,384 bytes in base64url (21,846 characters) and about
/// 150 characters around them.
pub const MAX_REQUEST_BYTES: usize = 32 * 1024;

/// The largest body of a `check` of many boxes: 100 of them are about 11 kB.
pub const MAX_MANY_BYTES: usize = 64 * 1024;

/// The most boxes one `check` may ask about.
pub const MAX_CHECK_BOXES: u32 = 100;

/// The most messages one `receive` may ask for. 32 messages of 16,384 bytes are 700 kB of reply, below the 1 MiB
/// a client reads.
pub const MAX_RECEIVE: u32 = 32;

/// The largest reply a client reads.
pub const MAX_REPLY_BYTES: u64 = 1024 * 1024;

/// The most relays a connectoid may name.
pub const MAX_RELAYS: usize = 4;

/// The longest `ext`, in characters.
pub const MAX_EXT_CHARS: usize = 1024;

/// The messages a box may hold at once.
pub const BOX_MESSAGES: u32 = 32;

/// The bytes a box may hold at once, decoded.
pub const BOX_BYTES: u32 = 512 * 1024;

/// The messages of one sender that a box may hold at once.
pub const BOX_MESSAGES_PER_SENDER: u32 = 8;

/// The most ICE candidates in one `candidate` message.
pub const MAX_CANDIDATES: usize = 32;

/// The longest frame of the data channel that is the protocol's own. The largest, a `rekey` with four long relay URLs
/// and an `ext`, has about 12 kB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;
