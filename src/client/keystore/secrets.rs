//! Private keys and secrets as they stand in the keys file. Nothing else in the program writes them anywhere.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{
    protocol::{Connectoid, LinkSecret, base64url},
    seal::{BoxKey, SigningKey, transcript::Sas},
};

/// A private key, in base64url.
pub(in crate::client) mod box_key {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(key: &BoxKey, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&Zeroizing::new(base64url::encode(key.to_bytes().as_slice())))
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<BoxKey, D::Error> {
        let bytes = read(input)?;
        BoxKey::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

/// A private key, in base64url.
pub(in crate::client) mod signing_key {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(key: &SigningKey, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&Zeroizing::new(base64url::encode(key.to_bytes().as_slice())))
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<SigningKey, D::Error> {
        let bytes = read(input)?;
        SigningKey::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

/// A private key that may not be there yet.
pub(in crate::client) mod optional_signing_key {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(
        key: &Option<SigningKey>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => signing_key::serialize(key, out),
            None => out.serialize_none(),
        }
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<SigningKey>, D::Error> {
        let text = Option::<String>::deserialize(input)?.map(Zeroizing::new);
        let key = text.map(|text| {
            let bytes = Zeroizing::new(base64url::decode(&text).map_err(D::Error::custom)?);
            SigningKey::from_bytes(&bytes).map_err(D::Error::custom)
        });
        key.transpose()
    }
}

/// The secret of a box, if it has one: its 32 bytes in base64url.
pub(in crate::client) mod optional_secret {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(
        secret: &Option<LinkSecret>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => out.serialize_str(&Zeroizing::new(base64url::encode(secret.expose()))),
            None => out.serialize_none(),
        }
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<LinkSecret>, D::Error> {
        let text = Option::<String>::deserialize(input)?.map(Zeroizing::new);
        let secret = text.map(|text| base64url::decode_exactly(&text).map(LinkSecret::from_bytes));
        secret.transpose().map_err(D::Error::custom)
    }
}

/// A connectoid with its secret, in its usual form.
pub(in crate::client) mod connectoid {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(
        connectoid: &Connectoid,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_str(&Zeroizing::new(connectoid.to_string()))
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Connectoid, D::Error> {
        Zeroizing::new(String::deserialize(input)?).parse().map_err(D::Error::custom)
    }
}

/// Bytes that hold a secret, in base64url.
pub(in crate::client) mod secret_bytes {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&Zeroizing::new(base64url::encode(bytes)))
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        read(input)
    }
}

/// A short authentication string, if there is one: its 8 bytes in base64url.
pub(in crate::client) mod optional_sas {
    use super::*;

    pub(in crate::client) fn serialize<S: Serializer>(sas: &Option<Sas>, out: S) -> Result<S::Ok, S::Error> {
        match sas {
            Some(sas) => out.serialize_str(&base64url::encode(sas.to_bytes())),
            None => out.serialize_none(),
        }
    }

    pub(in crate::client) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Sas>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        let sas = text.map(|text| base64url::decode_exactly(&text).map(Sas::from_bytes));
        sas.transpose().map_err(D::Error::custom)
    }
}

fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    let text = Zeroizing::new(String::deserialize(input)?);
    Ok(Zeroizing::new(base64url::decode(&text).map_err(D::Error::custom)?))
}
