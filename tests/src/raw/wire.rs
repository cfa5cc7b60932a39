//! AMQP's elementary types: <https://www.rabbitmq.com/amqp-0-9-1-reference>.

pub(super) fn short(to: &mut Vec<u8>, number: u16) {
    to.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn long(to: &mut Vec<u8>, number: u32) {
    to.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn long_long(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn short_text(to: &mut Vec<u8>, text: &[u8]) {
    to.push(u8::try_from(text.len()).expect("a short string has at most 255 bytes"));
    to.extend_from_slice(text);
}

pub(super) fn long_text(to: &mut Vec<u8>, text: &[u8]) {
    long(to, u32::try_from(text.len()).expect("less than 4 GiB"));
    to.extend_from_slice(text);
}

/// Reads what a broker wrote, which is well formed.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("as many as were taken")
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.number())
    }

    pub(super) fn long(&mut self) -> u32 {
        u32::from_be_bytes(self.number())
    }

    pub(super) fn long_long(&mut self) -> u64 {
        u64::from_be_bytes(self.number())
    }

    pub(super) fn short_text(&mut self) -> String {
        let length = usize::from(self.byte());
        String::from_utf8_lossy(self.take(length)).into_owned()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}
