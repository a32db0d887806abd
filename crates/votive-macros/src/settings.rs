//! What stands in the attribute.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, LitInt, LitStr, Meta, Path, Result, Token};

use crate::uniqueness::uniqueness;

/// The names of all settings.
const NAMES: &str = "kind, queue, priority, attempts, backoff_min, backoff_max, timeout, delay, unique, \
                     group, group_limit, retention, version, upgrade";

/// The longest name that a store takes, in bytes.
const NAME_MAX: usize = 255;

/// The settings of a task.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) kind: Option<LitStr>,
    pub(crate) queue: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) upgrade: Option<Path>,
    /// How equal tasks keep each other out, as tokens.
    pub(crate) unique: Option<TokenStream>,
    /// Fields of `Options` and of its `RetryPolicy`, as tokens.
    pub(crate) options: Vec<TokenStream>,
    pub(crate) retry: Vec<TokenStream>,
}

impl Parse for Settings {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut settings = Self::default();
        let mut seen = BTreeSet::new();
        for meta in Punctuated::<Meta, Token![,]>::parse_terminated(input)? {
            once(&mut seen, &meta)?;
            settings.take(&meta)?;
        }
        Ok(settings)
    }
}

/// The most tasks of a group that may run at the same time, as in `votive::task::GROUP_LIMIT_MAX`.
const GROUP_LIMIT_MAX: u32 = 1_000;

impl Settings {
    pub(crate) fn take(&mut self, meta: &Meta) -> Result<()> {
        let name = &*name_of(meta);
        match name {
            "kind" => self.kind = Some(named(meta)?),
            "queue" => self.queue = Some(named(meta)?),
            "version" => self.version = Some(number(meta, 0..=u32::MAX)?),
            "upgrade" => self.upgrade = Some(path(meta)?),
            "unique" => self.unique = Some(uniqueness(meta)?),
            "priority" => self.option("priority", number(meta, 0..=255)?),
            "timeout" | "delay" | "retention" => {
                let duration = duration(meta)?;
                self.option(name, quote!(::core::option::Option::Some(#duration)));
            }
            "group" => {
                let group = named(meta)?;
                self.option("group", quote!(::core::option::Option::Some(#group.into())));
            }
            "group_limit" => {
                let limit = number(meta, 1..=GROUP_LIMIT_MAX)?;
                self.option("group_limit", quote!(::core::option::Option::Some(#limit)));
            }
            "attempts" => self.retry("attempts_max", number(meta, 1..=u32::MAX)?),
            "backoff_min" | "backoff_max" => self.retry(name, duration(meta)?),
            _ => {
                let text = format!("`{name}` is no setting of a task; there are: {NAMES}");
                return Err(Error::new(meta.span(), text));
            }
        }
        Ok(())
    }

    fn option(&mut self, field: &str, value: impl ToTokens) {
        self.options.push(assigned(field, &value));
    }

    fn retry(&mut self, field: &str, value: impl ToTokens) {
        self.retry.push(assigned(field, &value));
    }
}

pub(crate) fn name_of(meta: &Meta) -> String {
    meta.path().to_token_stream().to_string()
}

/// Refuses what is set a second time.
pub(crate) fn once(seen: &mut BTreeSet<String>, meta: &Meta) -> Result<()> {
    let name = name_of(meta);
    let fault = format!("`{name}` is set twice");
    let is_new = seen.insert(name);
    is_new
        .then_some(())
        .ok_or_else(|| Error::new(meta.span(), fault))
}

fn assigned(field: &str, value: &impl ToTokens) -> TokenStream {
    let field = syn::Ident::new(field, proc_macro2::Span::call_site());
    quote!(#field: #value)
}

/// The value of `name = value`.
fn value(meta: &Meta) -> Result<&Expr> {
    meta.require_name_value().map(|pair| &pair.value)
}

pub(crate) fn text(meta: &Meta) -> Result<LitStr> {
    match value(meta)? {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text.clone()),
        other => Err(Error::new(other.span(), "expected a text in quotes")),
    }
}

/// A text that may be the name of a queue, a kind or a group.
pub(crate) fn named(meta: &Meta) -> Result<LitStr> {
    let text = text(meta)?;
    match text.value().len() {
        0 => Err(Error::new(text.span(), "a name is not empty")),
        1..=NAME_MAX => Ok(text),
        size => Err(Error::new(
            text.span(),
            format!("a name has at most {NAME_MAX} bytes, this has {size}"),
        )),
    }
}

fn number(meta: &Meta, range: RangeInclusive<u32>) -> Result<LitInt> {
    let value = value(meta)?;
    let number = match value {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => number.base10_parse().ok().zip(Some(number)),
        _ => None,
    };
    let (least, most) = (range.start(), range.end());
    match number {
        Some((number, literal)) if range.contains(&number) => Ok(literal.clone()),
        _ => {
            let text = format!("expected a number from {least} to {most}");
            Err(Error::new(value.span(), text))
        }
    }
}

fn path(meta: &Meta) -> Result<Path> {
    match value(meta)? {
        Expr::Path(path) => Ok(path.path.clone()),
        other => Err(Error::new(other.span(), "expected the path of a function")),
    }
}

/// A duration as people write it, as tokens of a constant.
pub(crate) fn duration(meta: &Meta) -> Result<TokenStream> {
    let text = text(meta)?;
    let duration = humantime::parse_duration(&text.value()).map_err(|error| {
        let help = "write a duration as \"30s\", \"5m\" or \"1h 30m\"";
        Error::new(text.span(), format!("{error}; {help}"))
    })?;
    Ok(constant(duration))
}

fn constant(duration: Duration) -> TokenStream {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanoseconds))
}
