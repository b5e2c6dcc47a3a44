//! RSA moduli whose factors a known faulty generator made, and that are therefore not secret.

/// Whether `modulus` has the fingerprint of CVE-2017-15361 ("ROCA", Nemec et al., CCS 2017, §2.3): primes of the form
/// `k * M + (65537^a mod M)`, where M is a product of the first primes. So the modulus is a power of 65537 modulo each
/// of them. One that was made otherwise is so by chance once in 2^27.
pub fn is_roca(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            power = power * GENERATOR % prime;
            power == remainder
        })
    })
}

const GENERATOR: u32 = 65_537;
/// Those primes up to 167, modulo which not every number is a power of the generator.
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_the_generator_are_found_and_others_are_not() {
        let power = |exponent: u32| {
            let mut bytes = vec![1u8];
            for _ in 0..exponent {
                // Times 65537, which is 2^16 + 1.
                let mut sum = [&bytes[..], &[0, 0]].concat();
                let mut carry = 0;
                for place in (0..sum.len()).rev() {
                    let added = if place >= 2 { u16::from(bytes[place - 2]) } else { 0 };
                    let digit = u16::from(sum[place]) + added + carry;
                    (sum[place], carry) = (digit as u8, digit >> 8);
                }
                bytes = sum;
            }
            bytes
        };
        for exponent in [1, 7, 100] {
            let mut modulus = power(exponent);
            assert!(is_roca(&modulus), "65537^{exponent}");
            *modulus.last_mut().unwrap() ^= 2;
            assert!(!is_roca(&modulus), "65537^{exponent} and two");
        }
        assert!(!is_roca(&[0xc5; 256]));
    }
}
