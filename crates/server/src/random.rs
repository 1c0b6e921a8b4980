//! The one place that draws randomness, from the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes. The operating system's source can't fail once it is seeded; where it does, the process must not go on
/// with guessable codes and tokens.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::error!("the operating system gave no randomness");
        std::process::abort();
    }
    bytes
}
