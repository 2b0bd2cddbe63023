//! Envelope and provider together, as the plugin uses them: no changed bit ever gives bytes.

use keystead_crypto::{Envelope, Secret32, SecretBytes, SystemRandom};
use keystead_provider::Provider;
use keystead_provider_local::{LocalProvider, create};

use crate::fixed::{Place, three_versions};

const PLAINTEXT: [u8; 32] = [0x50; 32];

async fn encrypt(provider: &LocalProvider) -> Vec<u8> {
    let wrapping_key = Secret32::generate(&SystemRandom).expect("random bytes");
    let wrapped = provider.wrap(&wrapping_key).await.expect("wrapped");
    let reference = provider
        .describe()
        .reference(wrapped.version, wrapped.activation, wrapped.material)
        .expect("reference");
    Envelope::seal(&reference, &wrapping_key, &wrapped.bytes, &PLAINTEXT, &SystemRandom).expect("sealed")
}

async fn decrypt(provider: &LocalProvider, ciphertext: &[u8]) -> Option<SecretBytes> {
    let envelope = Envelope::parse(ciphertext).ok()?;
    let reference = envelope.key_reference();
    let ours = provider.describe().reference(reference.version().clone(), None, None).expect("reference");
    if !ours.is_same_key(reference) {
        return None;
    }
    let wrapping_key = provider.unwrap(reference.version(), envelope.wrapped()).await.ok()?;
    envelope.open(&wrapping_key).ok()
}

fn provider() -> (Place, LocalProvider) {
    let place = Place::new();
    // Versions 1, 2 and 3, so that a flipped bit in the version's number hits a key that exists.
    create(&place.key_file(), &three_versions()).expect("created");
    let provider = place.provider();
    (place, provider)
}

#[tokio::test]
async fn every_flipped_bit_is_an_error() {
    let (_place, provider) = provider();
    let good = encrypt(&provider).await;
    assert_eq!(decrypt(&provider, &good).await.expect("opened").expose(), PLAINTEXT);
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[position] ^= 1 << bit;
            assert!(decrypt(&provider, &flipped).await.is_none(), "bit {bit} of byte {position}");
        }
    }
}

#[tokio::test]
async fn wrapped_key_of_another_ciphertext_is_an_error() {
    let (_place, provider) = provider();
    let (first, second) = (encrypt(&provider).await, encrypt(&provider).await);
    let wrapped = |ciphertext: &[u8]| Envelope::parse(ciphertext).expect("parsed").wrapped().to_vec();
    let (ours, theirs) = (wrapped(&first), wrapped(&second));
    let at = first.windows(ours.len()).position(|window| window == ours).expect("it is in there");
    let mut swapped = first;
    swapped[at..at + ours.len()].copy_from_slice(&theirs);

    let parsed = Envelope::parse(&swapped).expect("parsed");
    assert!(provider.unwrap(parsed.key_reference().version(), parsed.wrapped()).await.is_ok());
    assert!(decrypt(&provider, &swapped).await.is_none());
}

#[tokio::test]
async fn ciphertext_of_another_key_file_is_an_error() {
    let ((_a, provider), (_b, other)) = (provider(), provider());
    let ciphertext = encrypt(&other).await;
    assert!(decrypt(&provider, &ciphertext).await.is_none());
    // Also when its own version is asked for by name.
    let parsed = Envelope::parse(&ciphertext).expect("parsed");
    assert!(provider.unwrap(parsed.key_reference().version(), parsed.wrapped()).await.is_err());
}
