//! What scenarios need before they begin, and its removal.

use std::sync::Arc;

use machinery::Value;
use serde_json::json;

use super::load::{self, Limit, Maker};
use super::objects::{self, Template};
use super::{MANY, Run};
use crate::connection::{Error, Format, Request, Stream};

/// Where definitions are.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

impl Run<'_> {
    /// A namespace for a purpose.
    async fn namespace(&mut self, purpose: &str) -> Result<Arc<str>, Error> {
        if let Some(name) = self.namespaces.get(purpose) {
            return Ok(name.clone());
        }
        let name = format!("bench-{}-{purpose}", self.id);
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.control.send(&Request::json("POST", "/api/v1/namespaces", &body)).await?;
        let name: Arc<str> = name.into();
        self.namespaces.insert(purpose.to_owned(), name.clone());
        Ok(name)
    }

    /// The path of a collection of ConfigMaps.
    pub(super) async fn config_maps(&mut self, purpose: &str) -> Result<String, Error> {
        Ok(format!("/api/v1/namespaces/{}/configmaps", self.namespace(purpose).await?))
    }

    /// The path of a collection of Pods in a namespace where they can be made.
    pub(super) async fn pods_of(&mut self, purpose: &str) -> Result<String, Error> {
        let namespace = self.namespace(purpose).await?;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        match self.control.send(&Request::json("POST", &path, &account)).await {
            // A controller was faster.
            Ok(_) | Err(Error::Refused { status: 409, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(format!("/api/v1/namespaces/{namespace}/pods"))
    }

    /// The path of a collection with so many ConfigMaps, the same one for the same purpose.
    pub(super) async fn filled(&mut self, purpose: &str, count: usize) -> Result<String, Error> {
        let is_there = self.namespaces.contains_key(purpose);
        let path = self.config_maps(purpose).await?;
        if !is_there {
            let template = objects::config_map();
            self.write(count, creation(path.clone(), &template, Format::Json)?).await?;
        }
        Ok(path)
    }

    pub(super) async fn pods(&mut self) -> Result<(), Error> {
        let path: Arc<str> = self.pods_of("pods").await?.into();
        let request = move |number| Request::json("POST", &path, &objects::pod(number));
        self.write(self.options.pods, Arc::new(request)).await
    }

    /// The path of a collection of custom objects.
    pub(super) async fn custom_objects(&mut self) -> Result<String, Error> {
        let group = format!("bench-{}.ironclad.test", self.id);
        let definition = objects::definition(&group);
        let made = self.control.fetch(&Request::json("POST", DEFINITIONS, &definition)).await?;
        let made: Value = serde_json::from_slice(&made).unwrap_or_default();
        let name = machinery::meta::name(&made).to_owned();
        self.definition = Some(format!("{DEFINITIONS}/{name}"));
        self.established(&name, machinery::meta::resource_version(&made)).await?;
        let namespace = self.namespace("custom").await?;
        let path = format!("/apis/{group}/v1/namespaces/{namespace}/{}", objects::CUSTOM);
        let template = objects::custom(&group);
        self.write(self.options.custom, creation(path.clone(), &template, Format::Json)?).await?;
        Ok(path)
    }

    /// Waits until a definition is served.
    async fn established(&self, name: &str, since: &str) -> Result<(), Error> {
        let path = format!(
            "{DEFINITIONS}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={since}"
        );
        let watch = self.target.connect(self.options.protocol).await?;
        let mut events: Stream = watch.open(&Request::get(path, Format::Json)).await?;
        let mut text = Vec::new();
        while let Some(piece) = events.next().await? {
            text.extend_from_slice(&piece);
            let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            let mut lines = text[..whole].split(|byte| *byte == b'\n');
            if lines.any(|line| serde_json::from_slice(line).is_ok_and(objects::is_established)) {
                return Ok(());
            }
        }
        Err(Error::Prepare(format!("{name} is not served")))
    }

    /// Writes objects that a scenario needs; all of them, or it means nothing.
    async fn write(&mut self, count: usize, request: Maker) -> Result<(), Error> {
        let limit = Limit::Requests(count);
        let workers = (self.options.protocol, MANY);
        let done = load::run(self.target, workers, limit, 0, request).await?;
        let error = done.samples.into_iter().find_map(|sample| sample.errors.into_iter().next());
        match error {
            Some(error) => Err(Error::Prepare(error)),
            None => Ok(()),
        }
    }

    /// Removes what the run made. Namespaces alone would do, if controllers run.
    pub(super) async fn clean_up(&mut self) -> Result<(), Error> {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
        if let Some(path) = self.definition.take() {
            self.control.send(&Request::json("DELETE", &path, &options)).await?;
        }
        for namespace in std::mem::take(&mut self.namespaces).into_values() {
            let path = format!("/api/v1/namespaces/{namespace}");
            for collection in ["configmaps", "pods", "serviceaccounts"] {
                let path = format!("{path}/{collection}");
                self.control.send(&Request::json("DELETE", &path, &options)).await?;
            }
            self.control.send(&Request::json("DELETE", &path, &json!({}))).await?;
        }
        Ok(())
    }
}

/// Creations of objects like a template in a collection.
pub(super) fn creation(path: String, template: &Value, format: Format) -> Result<Maker, Error> {
    let template = Template::new(template, format)?;
    let path: Arc<str> = path.into();
    Ok(Arc::new(move |number| Request {
        method: "POST",
        path: path.clone(),
        accept: format,
        content_type: format.media_type(),
        body: template.numbered(number),
        gzip: false,
    }))
}
