//! Webhooks by the Standard Webhooks specification: whose secret it is, and how it signs. Secrets are derived from the fleet's master
//! key and kept nowhere; gateways sign with them, and the admin API shows them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::master_key::MasterKey;
use crate::model::{Application, Id, Queue, Timestamp};

/// The key by which one receiver knows our webhooks.
#[derive(Clone)]
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    /// Of what an embedded queue delivers.
    #[must_use]
    pub fn of_queue(master: &MasterKey, queue: Id<Queue>) -> Self {
        Self(master.derive(&format!("webhooks of queue {queue}")))
    }

    /// Of what an application is called back with.
    #[must_use]
    pub fn of_application(master: &MasterKey, application: Id<Application>) -> Self {
        Self(master.derive(&format!("webhooks of application {application}")))
    }

    /// `whsec_…`, as receivers' libraries take it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The header `webhook-signature` of a message that is sent at this time; `webhook-timestamp` are its whole seconds.
    #[must_use]
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in [id.as_bytes(), b".", seconds(at).to_string().as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// As the header `webhook-timestamp` says it.
#[must_use]
pub fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_what_the_specification_says() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA=");
        let secret = WebhookSecret(key.unwrap().try_into().unwrap());
        let at = Timestamp::from_micros(1_614_265_330_999_999);
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        let content = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        let signature = STANDARD.decode(signed.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, content, &signature).unwrap();
    }

    #[test]
    fn every_receiver_has_a_secret_of_its_own_that_debug_hides() {
        let master = MasterKey::of("a text of more than 32 characters, I think").unwrap();
        let uuid = crate::clock::new_id();
        let queue = WebhookSecret::of_queue(&master, Id::new(uuid));
        assert_eq!(queue.text(), WebhookSecret::of_queue(&master, Id::new(uuid)).text());
        assert_ne!(queue.text(), WebhookSecret::of_application(&master, Id::new(uuid)).text());
        assert_ne!(queue.text(), WebhookSecret::of_queue(&master, Id::new(crate::clock::new_id())).text());
        assert!(queue.text().starts_with("whsec_") && !format!("{queue:?}").contains("whsec"));
    }
}
