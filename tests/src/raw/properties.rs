use super::wire::{long_long, long_text, short, short_text};

/// The fields of `basic` properties in the order of the wire.
const CONTENT_TYPE: u16 = 15;
const HEADERS: u16 = 13;
const DELIVERY_MODE: u16 = 12;
const PRIORITY: u16 = 11;
const CORRELATION_ID: u16 = 10;
const REPLY_TO: u16 = 9;
const EXPIRATION: u16 = 8;
const MESSAGE_ID: u16 = 7;
const TIMESTAMP: u16 = 6;
const KIND: u16 = 5;
const USER_ID: u16 = 4;
const APP_ID: u16 = 3;

/// The properties of a message: any bytes in any of them. A short string has
/// at most 255.
#[derive(Clone, Debug, Default)]
pub struct RawProperties {
    /// Each field's flag and its bytes on the wire.
    fields: Vec<(u16, Vec<u8>)>,
}

impl RawProperties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a decent client sends with a task: persistent JSON with an id.
    pub fn task(kind: &str) -> Self {
        Self::new()
            .content_type(b"application/json")
            .delivery_mode(2)
            .message_id(uuid::Uuid::now_v7().to_string().as_bytes())
            .kind(kind.as_bytes())
    }

    /// `content_type`.
    #[must_use]
    pub fn content_type(self, text: &[u8]) -> Self {
        self.text(CONTENT_TYPE, text)
    }

    /// `headers`.
    #[must_use]
    pub fn headers(self, table: &Table) -> Self {
        self.raw_headers(table.bytes())
    }

    /// `headers`, from the bytes of a table without its length.
    #[must_use]
    pub fn raw_headers(self, table: &[u8]) -> Self {
        let mut bytes = Vec::new();
        long_text(&mut bytes, table);
        self.field(HEADERS, bytes)
    }

    /// `delivery_mode`: 2 is persistent.
    #[must_use]
    pub fn delivery_mode(self, mode: u8) -> Self {
        self.field(DELIVERY_MODE, vec![mode])
    }

    /// `priority`.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        self.field(PRIORITY, vec![priority])
    }

    /// `correlation_id`.
    #[must_use]
    pub fn correlation_id(self, text: &[u8]) -> Self {
        self.text(CORRELATION_ID, text)
    }

    /// `reply_to`.
    #[must_use]
    pub fn reply_to(self, text: &[u8]) -> Self {
        self.text(REPLY_TO, text)
    }

    /// `expiration`: milliseconds as text.
    #[must_use]
    pub fn expiration(self, text: &[u8]) -> Self {
        self.text(EXPIRATION, text)
    }

    /// `message_id`.
    #[must_use]
    pub fn message_id(self, text: &[u8]) -> Self {
        self.text(MESSAGE_ID, text)
    }

    /// `timestamp`: seconds.
    #[must_use]
    pub fn timestamp(self, seconds: u64) -> Self {
        let mut bytes = Vec::new();
        long_long(&mut bytes, seconds);
        self.field(TIMESTAMP, bytes)
    }

    /// `type`.
    #[must_use]
    pub fn kind(self, text: &[u8]) -> Self {
        self.text(KIND, text)
    }

    /// `user_id`.
    #[must_use]
    pub fn user_id(self, text: &[u8]) -> Self {
        self.text(USER_ID, text)
    }

    /// `app_id`.
    #[must_use]
    pub fn app_id(self, text: &[u8]) -> Self {
        self.text(APP_ID, text)
    }

    /// Flags and fields, as on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(flag, _)| std::cmp::Reverse(*flag));
        let flags = fields.iter().fold(0, |flags, (flag, _)| flags | 1 << flag);
        let mut bytes = Vec::new();
        short(&mut bytes, flags);
        for (_, field) in fields {
            bytes.extend_from_slice(field);
        }
        bytes
    }

    fn text(self, flag: u16, text: &[u8]) -> Self {
        let mut bytes = Vec::new();
        short_text(&mut bytes, text);
        self.field(flag, bytes)
    }

    fn field(mut self, flag: u16, bytes: Vec<u8>) -> Self {
        self.fields.retain(|(other, _)| *other != flag);
        self.fields.push((flag, bytes));
        self
    }
}

/// A table: any names, any tags, any values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table(Vec<u8>);

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// A table in a table in a table, `levels` deep: 7 bytes for each.
    pub fn nested(levels: usize) -> Self {
        let mut bytes = Vec::with_capacity(levels * 7);
        for level in (1..=levels).rev() {
            bytes.extend_from_slice(b"\x01nF");
            let length = u32::try_from((level - 1) * 7).expect("fewer levels than a frame has");
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        Self(bytes)
    }

    /// A table of these bytes, whatever they are.
    pub const fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// One field: its name, its tag and its value as on the wire.
    #[must_use]
    pub fn field(mut self, name: &[u8], tag: u8, value: &[u8]) -> Self {
        short_text(&mut self.0, name);
        self.0.push(tag);
        self.0.extend_from_slice(value);
        self
    }

    /// A long string: any bytes.
    #[must_use]
    pub fn text(self, name: &[u8], value: &[u8]) -> Self {
        let mut bytes = Vec::new();
        long_text(&mut bytes, value);
        self.field(name, b'S', &bytes)
    }

    /// A signed 64-bit number, as RabbitMQ's own clients write it.
    #[must_use]
    pub fn number(self, name: &[u8], value: i64) -> Self {
        self.field(name, b'l', &value.to_be_bytes())
    }

    /// A table.
    #[must_use]
    pub fn table(self, name: &[u8], value: &Self) -> Self {
        let mut bytes = Vec::new();
        long_text(&mut bytes, &value.0);
        self.field(name, b'F', &bytes)
    }

    /// Its bytes without their length.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
