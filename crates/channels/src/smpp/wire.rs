//! PDUs as bytes on a connection. What a PDU holds is read and written by `rusmpp-core`; cutting the stream into PDUs is ours, so
//! that one whose body makes no sense costs only itself and not the session.

use bytes::{BufMut as _, BytesMut};
use rusmpp_core::command::owned::Command;
use rusmpp_core::decode::owned::DecodeWithLength as _;
use rusmpp_core::encode::Length as _;
use rusmpp_core::encode::owned::Encode as _;
use rusmpp_core::pdus::owned::Pdu;
use rusmpp_core::{CommandId, CommandStatus};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const HEADER_BYTES: usize = 16;
/// Longest PDU that is taken. A receipt has 300 bytes, a long message of a phone some thousands.
const MAX_BYTES: usize = 16 * 1024;

/// A PDU as it came in: its head is read, its body not yet.
pub(super) struct Frame {
    pub(super) id: CommandId,
    pub(super) status: CommandStatus,
    pub(super) sequence: u32,
    /// Everything but the length.
    rest: BytesMut,
}

impl Frame {
    /// What it holds; `None` where that makes no sense.
    pub(super) fn into_pdu(mut self) -> Option<Pdu> {
        let length = self.rest.len();
        let (mut command, _) = Command::decode(&mut self.rest, length).ok()?;
        // The crate lends no owned PDU: an empty one is put in its place.
        let taken = command.pdu()?.clone();
        command.set_pdu(Pdu::EnquireLink);
        Some(taken)
    }
}

/// Why no more PDUs can be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The other side closed the connection, or it broke.
    Lost,
    /// What comes are no PDUs.
    NoPdu,
}

/// Reads the next PDU.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Frame, ReadError> {
    let length = stream.read_u32().await.map_err(|_| ReadError::Lost)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(HEADER_BYTES..=MAX_BYTES).contains(&length) {
        return Err(ReadError::NoPdu);
    }
    let mut rest = BytesMut::zeroed(length - size_of::<u32>());
    stream.read_exact(&mut rest).await.map_err(|_| ReadError::Lost)?;
    let word = |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    Ok(Frame {
        id: CommandId::from(word(0)),
        status: CommandStatus::from(word(4)),
        sequence: word(8),
        rest,
    })
}

/// The bytes of a request.
pub(super) fn request(sequence: u32, pdu: Pdu) -> BytesMut {
    encode(&Command::new(CommandStatus::EsmeRok, sequence, pdu))
}

/// The bytes of an answer.
pub(super) fn answer(status: CommandStatus, sequence: u32, pdu: Pdu) -> BytesMut {
    encode(&Command::new(status, sequence, pdu))
}

fn encode(command: &Command) -> BytesMut {
    let length = size_of::<u32>() + command.length();
    let mut bytes = BytesMut::with_capacity(length);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    command.encode(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let bytes = request(7, Pdu::EnquireLink);
        assert_eq!(bytes.len(), HEADER_BYTES);
        let frame = read(&mut &bytes[..]).await.ok().unwrap();
        assert_eq!((frame.id, frame.sequence), (CommandId::EnquireLink, 7));
        assert_eq!(frame.into_pdu(), Some(Pdu::EnquireLink));
    }

    #[tokio::test]
    async fn a_stream_that_holds_no_pdus_is_told_from_one_that_ended() {
        let read_all = async |bytes: &'static [u8]| read(&mut &bytes[..]).await.err().unwrap();
        assert!(matches!(read_all(b"HTTP/1.1 400 Bad").await, ReadError::NoPdu));
        assert!(matches!(read_all(&[0, 0, 0, 15, 0, 0, 0, 0]).await, ReadError::NoPdu));
        assert!(matches!(read_all(&[0, 0, 0, 16, 0, 0]).await, ReadError::Lost));
    }

    /// A small generator of numbers: garbage must be the same in each run.
    fn garbage(seed: u64) -> impl Iterator<Item = u8> {
        let mut state = seed | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
    }

    #[tokio::test]
    async fn bodies_of_garbage_are_refused_without_a_panic() {
        let ids = [
            0x4_u32,
            0x5,
            0x8000_0004,
            0x8000_0009,
            0x103,
            0x8000_0000,
            0x15,
            0x21,
            0xFFFF_FFFF,
        ];
        for seed in 1..4_000_u64 {
            let id = ids[usize::try_from(seed).unwrap() % ids.len()];
            let body: Vec<u8> = garbage(seed * 7919)
                .take(usize::try_from(seed % 400).unwrap())
                .collect();
            let mut bytes = BytesMut::new();
            bytes.put_u32(u32::try_from(HEADER_BYTES + body.len()).unwrap());
            bytes.put_u32(id);
            bytes.put_u32(0);
            bytes.put_u32(1);
            bytes.extend_from_slice(&body);
            let frame = read(&mut &bytes[..]).await.ok().unwrap();
            let _ = frame.into_pdu();
        }
    }
}
