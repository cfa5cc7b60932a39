//! Bounds on what travels. Each is checked before a message is published and
//! again when one is read.

/// Most bytes in a task's payload: 1 MiB.
///
/// A larger input belongs in a file or an object store, its name in the
/// payload. One message occupies the connection while it is written, so a
/// large one delays every acknowledgement behind it.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Most bytes in an output: 4 MiB.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Most bytes in the body of one message: 12 MiB.
///
/// RabbitMQ 4 refuses more than 16 MiB by default, and closes the channel over
/// it: <https://www.rabbitmq.com/docs/configure#config-items> `max_message_size`.
/// An unsuccessful outcome carries a payload and an error, which fit with room.
pub const BODY_BYTES_MAX: usize = 12 << 20;

/// Most bytes in the headers of one message: 4 KiB.
///
/// A header frame is not split: past the negotiated frame size it would close
/// the connection.
pub const HEADER_BYTES_MAX: usize = 4 << 10;

/// Most bytes in a name on the wire (kind, message id, correlation id): 255,
/// the length of an AMQP short string.
pub const NAME_BYTES_MAX: usize = 255;

/// Most bytes in a queue name of ours, without the namespace. With the
/// namespace and the 34 bytes of a delay it stays a valid routing key.
pub const QUEUE_NAME_BYTES_MAX: usize = 100;

/// Most bytes in a namespace.
pub const NAMESPACE_BYTES_MAX: usize = 64;

/// Deepest nesting of a payload or output: 64 levels.
pub const DEPTH_MAX: usize = 64;

/// Most values (scalars, arrays, maps, keys) in one payload or output.
///
/// One byte on the wire can become a value of dozens of bytes in memory.
pub const NODES_MAX: usize = 1_000_000;

/// Most tasks or reports in one message.
pub const BUNDLE_MAX: usize = 1_024;

/// Most bytes of an error's text that are kept: 8 KiB.
pub const ERROR_BYTES_MAX: usize = 8 << 10;

/// Most bytes of the JSON Schema of a kind: 64 KiB, far more than people write by
/// hand, and little beside the payloads that it is for.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Most bytes of an error's data (a task's own error type, encoded): 64 KiB.
pub const ERROR_DATA_BYTES_MAX: usize = 64 << 10;
