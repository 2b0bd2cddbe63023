//! Which path is which method: read from the descriptors, so that no second table can say something else.

use std::collections::{HashMap, HashSet};

use http::Method;
use keystead_proto::descriptor_pool;
use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use super::template::Template;
use crate::methods::is_unserved;

/// One REST path of one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteName {
    /// Such as `POST`.
    pub http_method: Method,
    /// Such as `/v1/{name=projects/*}/locations`.
    pub template: String,
    /// Such as `google.cloud.kms.v1.KeyManagementService`.
    pub service: String,
    /// Such as `Encrypt`.
    pub method: String,
    /// Whether it is served; otherwise its answer is a sentence.
    pub served: bool,
}

pub(super) struct Route {
    pub(super) name: RouteName,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    pub(super) body: Body,
    /// Whether something in the body stands for what is not served.
    pub(super) has_unserved: bool,
    /// The fields that the variables of the template are for, each from the outside in.
    pub(super) variables: Vec<Vec<FieldDescriptor>>,
    template: Template,
}

/// Where the body goes.
pub(super) enum Body {
    /// It is ignored.
    Nowhere,
    /// It is the message.
    Whole,
    /// It is this field of the message.
    Field(FieldDescriptor),
}

/// An annotation that the gateway cannot follow: found by the first test that runs, never by a user.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the REST path {0:?}")]
pub struct RouteError(String);

#[derive(Default)]
pub(super) struct Routes {
    /// The more exact come first.
    by_verb: HashMap<Option<String>, Vec<Route>>,
}

/// What a path leads to.
pub(super) enum Found<'r, 'p> {
    Route(&'r Route, Vec<Vec<&'p str>>),
    /// There is the path, but not with this HTTP method.
    OtherMethods(Vec<&'r Method>),
    Nothing,
}

impl Route {
    /// Such as `/google.cloud.kms.v1.KeyManagementService/Encrypt`.
    pub(super) fn grpc_path(&self) -> String {
        format!("/{}/{}", self.name.service, self.name.method)
    }
}

impl Routes {
    pub(super) fn from_descriptors() -> Result<Self, RouteError> {
        let pool = descriptor_pool();
        let http = pool.get_extension_by_name("google.api.http");
        let unserved = pool.get_extension_by_name("keystead.api.unserved");
        let (Some(http), Some(unserved)) = (http, unserved) else {
            return Err(RouteError("the descriptors have no annotations".into()));
        };
        let mut routes = Self::default();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            routes.add_method(&method, &http, &unserved)?;
        }
        for same_verb in routes.by_verb.values_mut() {
            same_verb.sort_by_key(|route| std::cmp::Reverse(route.template.literals()));
        }
        Ok(routes)
    }

    fn add_method(
        &mut self,
        method: &MethodDescriptor,
        http: &ExtensionDescriptor,
        unserved: &ExtensionDescriptor,
    ) -> Result<(), RouteError> {
        let options = method.options();
        if !options.has_extension(http) {
            return Ok(());
        }
        let served = options.get_extension(unserved).as_bool() == Some(false);
        let rule = options.get_extension(http);
        let Some(rule) = rule.as_message() else { return Err(RouteError(method.full_name().into())) };
        let more = rule.get_field_by_name("additional_bindings");
        let more = more.as_ref().and_then(|more| more.as_list()).unwrap_or_default();
        for rule in std::iter::once(rule).chain(more.iter().filter_map(Value::as_message)) {
            let (route, verb) =
                route(method, rule, served).ok_or_else(|| RouteError(method.full_name().into()))?;
            self.by_verb.entry(verb).or_default().push(route);
        }
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &RouteName> {
        self.by_verb.values().flatten().map(|route| &route.name)
    }

    pub(super) fn find<'p>(&self, method: &Method, path: &'p str) -> Found<'_, 'p> {
        let Some(path) = path.strip_prefix('/') else { return Found::Nothing };
        let mut segments: Vec<&str> = path.split('/').collect();
        let mut verb = None;
        if let Some(last) = segments.last_mut()
            && let Some((before, after)) = last.rsplit_once(':')
        {
            verb = Some(after.to_owned());
            *last = before;
        }
        let mut others = Vec::new();
        for route in self.by_verb.get(&verb).into_iter().flatten() {
            let Some(values) = route.template.matches(&segments) else { continue };
            if route.name.http_method == *method {
                return Found::Route(route, values);
            }
            if !others.contains(&&route.name.http_method) {
                others.push(&route.name.http_method);
            }
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }
}

fn route(method: &MethodDescriptor, rule: &DynamicMessage, served: bool) -> Option<(Route, Option<String>)> {
    let (http_method, text) = [
        (Method::GET, "get"),
        (Method::PUT, "put"),
        (Method::POST, "post"),
        (Method::DELETE, "delete"),
        (Method::PATCH, "patch"),
    ]
    .into_iter()
    .find_map(|(http_method, field)| {
        rule.has_field_by_name(field).then_some((http_method, text_of(rule, field)?))
    })?;
    let (template, verb) = Template::parse(&text)?;
    let input = method.input();
    // The messages of methods that are not served do not matter.
    let variables: Option<Vec<_>> =
        template.fields().filter(|_| served).map(|path| fields(&input, path)).collect();
    let body = match text_of(rule, "body")?.as_str() {
        "" => Body::Nowhere,
        "*" => Body::Whole,
        _ if !served => Body::Nowhere,
        field => Body::Field(input.get_field_by_name(field)?),
    };
    let name = RouteName {
        http_method,
        template: text,
        service: method.parent_service().full_name().to_owned(),
        method: method.name().to_owned(),
        served,
    };
    let has_unserved = has_unserved(&input, &mut HashSet::new());
    let output = method.output();
    let route = Route { name, output, body, has_unserved, variables: variables?, template, input };
    Some((route, verb))
}

/// Whether a message of that kind holds one whose content does not matter.
fn has_unserved(kind: &MessageDescriptor, seen: &mut HashSet<String>) -> bool {
    seen.insert(kind.full_name().to_owned())
        && kind.fields().any(|field| {
            let inner = field.kind().as_message().cloned();
            inner.is_some_and(|inner| is_unserved(&inner) || has_unserved(&inner, seen))
        })
}

fn text_of(rule: &DynamicMessage, field: &str) -> Option<String> {
    rule.get_field_by_name(field)?.as_str().map(str::to_owned)
}

/// `crypto_key.name` is two fields. The last one must be a string, as all variables of paths are.
fn fields(message: &MessageDescriptor, path: &str) -> Option<Vec<FieldDescriptor>> {
    let mut message = Some(message.clone());
    let mut fields = Vec::new();
    for name in path.split('.') {
        let field = message?.get_field_by_name(name)?;
        message = field.kind().as_message().cloned();
        fields.push(field);
    }
    let is_string = fields.last().is_some_and(|last| last.kind() == Kind::String && !last.is_list());
    is_string.then_some(fields)
}
