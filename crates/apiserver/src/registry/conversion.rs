//! Between the form in which objects are stored and the one in which a resource serves them.

use std::sync::Arc;

use futures::FutureExt as _;
use machinery::schema::Type;
use machinery::{Value, codec, meta};
use resources::{Conversion, Registration, WebhookConversion};

use super::{Failure, Registry, Resource};
use crate::cache::Presentation;
use crate::webhook::Caller;
use crate::webhook::conversion::Converter;

/// Both ways of one resource.
#[derive(Clone)]
pub(super) struct Converting {
    conversion: Conversion,
    /// If the conversion is a webhook's.
    converter: Option<Arc<Converter>>,
    presentation: Arc<Presentation>,
    stored_version: String,
}

impl Converting {
    /// The conversion that a registration names, if it names one.
    pub(super) fn of(registration: &Registration, caller: &Caller) -> Option<Self> {
        let conversion = registration.storage.conversion.clone()?;
        let ty = registration.ty.clone();
        let (presentation, converter) = match &conversion {
            Conversion::Pure { from_storage, .. } => {
                let from_storage = from_storage.clone();
                let own = move |mut object: Value| {
                    from_storage(&mut object);
                    codec::encode_json(&object, ty.type_ref())
                };
                (Presentation::pure(Box::new(own)), None)
            }
            Conversion::Webhook(webhook) => {
                let converter = Arc::new(Converter::new(caller.clone(), &webhook.webhook));
                let version = registration.api_version();
                (asking(webhook.clone(), converter.clone(), version, ty), Some(converter))
            }
        };
        Some(Self {
            conversion,
            converter,
            presentation: Arc::new(presentation),
            stored_version: registration.storage.kind.api_version(),
        })
    }

    pub(super) fn presentation(&self) -> &Arc<Presentation> {
        &self.presentation
    }

    /// Whether somebody else converts.
    pub(super) fn is_foreign(&self) -> bool {
        self.converter.is_some()
    }

    /// A served object as it is to be stored.
    pub(super) async fn to_storage(&self, mut object: Value) -> Result<Value, Failure> {
        match (&self.conversion, &self.converter) {
            (Conversion::Pure { to_storage, .. }, _) => to_storage(&mut object),
            (Conversion::Webhook(webhook), Some(converter))
                if meta::api_version(&object) != self.stored_version =>
            {
                let version = self.stored_version.clone();
                let converted = converter.clone().convert(vec![object], version).await?;
                object = converted.into_iter().next().unwrap_or_default();
                (webhook.converted)(&mut object);
            }
            (Conversion::Webhook(_), _) => {}
        }
        Ok(object)
    }
}

impl Resource {
    /// An object of this resource as another version of the resource has it.
    ///
    /// # Errors
    /// When a webhook that converts fails.
    pub(crate) async fn converted(&self, mut object: Value, to: &Self) -> Result<Value, Failure> {
        let revision = meta::resource_version(&object).to_owned();
        let bytes = self.encode(&mut object).await?;
        let mut object = to.unstored("", &bytes, 0).await?.value();
        meta::set_resource_version(&mut object, revision);
        Ok(object)
    }
}

impl Registry {
    /// The other versions under which a resource's objects are served.
    pub(crate) fn equivalents(&self, resource: &Resource) -> Vec<Arc<Resource>> {
        let same = |other: &&Arc<Resource>| {
            other.storage.prefix == resource.storage.prefix
                && (&*other.group, &*other.version) != (&*resource.group, &*resource.version)
        };
        self.resources().iter().filter(same).cloned().collect()
    }
}

/// Stored objects of `version` are shown as they are, others go to the webhook.
fn asking(
    webhook: WebhookConversion,
    converter: Arc<Converter>,
    version: String,
    ty: Type,
) -> Presentation {
    let encode = {
        let converted = webhook.converted.clone();
        move |mut object: Value| {
            converted(&mut object);
            codec::encode_json(&object, ty.type_ref())
        }
    };
    let own = {
        let (encode, decoded) = (encode.clone(), webhook.decoded.clone());
        move |mut object: Value| {
            decoded(&mut object);
            encode(object)
        }
    };
    let ask = {
        let version = version.clone();
        move |mut objects: Vec<Value>| {
            objects.iter_mut().for_each(|object| (webhook.decoded)(object));
            let conversion = converter.clone().convert(objects, version.clone());
            let encode = encode.clone();
            async move { Ok(conversion.await?.into_iter().map(encode).collect()) }.boxed()
        }
    };
    Presentation::asking(version, Box::new(own), Box::new(ask))
}
