//! What stands in the attribute of a periodic task: when, and then the settings of its tasks.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, LitStr, Meta, MetaNameValue, Result, Token};

use crate::function::Argument;
use crate::settings::{self, Settings};

/// When a task comes again, and with which arguments.
pub(crate) struct Timing {
    pub(crate) schedule: LitStr,
    pub(crate) name: Option<LitStr>,
    pub(crate) zone: Option<LitStr>,
    /// As tokens.
    pub(crate) catch_up: Option<TokenStream>,
    pub(crate) expires_after: Option<TokenStream>,
    values: Vec<MetaNameValue>,
    pub(crate) settings: Settings,
}

impl Parse for Timing {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut timing = Self {
            schedule: schedule(input)?,
            name: None,
            zone: None,
            catch_up: None,
            expires_after: None,
            values: Vec::new(),
            settings: Settings::default(),
        };
        let mut seen = BTreeSet::new();
        if input.parse::<Option<Token![,]>>()?.is_some() {
            for meta in Punctuated::<Meta, Token![,]>::parse_terminated(input)? {
                settings::once(&mut seen, &meta)?;
                timing.take(&meta)?;
            }
        }
        Ok(timing)
    }
}

impl Timing {
    fn take(&mut self, meta: &Meta) -> Result<()> {
        let path = meta.path();
        if path.is_ident("name") {
            self.name = Some(settings::named(meta)?);
        } else if path.is_ident("tz") {
            self.zone = Some(settings::named(meta)?);
        } else if path.is_ident("catch_up") {
            self.catch_up = Some(catch_up(&settings::text(meta)?)?);
        } else if path.is_ident("expires_after") {
            self.expires_after = Some(settings::duration(meta)?);
        } else if path.is_ident("args") {
            let list = meta.require_list()?;
            let values = Punctuated::<MetaNameValue, Token![,]>::parse_terminated;
            self.values = list.parse_args_with(values)?.into_iter().collect();
        } else {
            self.settings.take(meta)?;
        }
        Ok(())
    }

    /// Returns the values of a function's arguments, in their order.
    ///
    /// # Errors
    /// One has none, or there is one of none.
    pub(crate) fn values(&self, arguments: &[Argument]) -> Result<Vec<&Expr>> {
        let of = |argument: &Argument| {
            let value = self
                .values
                .iter()
                .find(|it| it.path.is_ident(&argument.name));
            value.map(|pair| &pair.value).ok_or_else(|| {
                let name = &argument.name;
                let text =
                    format!("nobody is there to say what `{name}` is: say `args({name} = …)`");
                Error::new(name.span(), text)
            })
        };
        let known = |pair: &&MetaNameValue| arguments.iter().any(|it| pair.path.is_ident(&it.name));
        if let Some(pair) = self.values.iter().find(|pair| !known(pair)) {
            return Err(Error::new(
                pair.path.span(),
                "the function has no such argument",
            ));
        }
        arguments.iter().map(of).collect()
    }
}

/// Reads the schedule, and refuses what cannot be one at first sight; the rest is for the library to say.
fn schedule(input: ParseStream<'_>) -> Result<LitStr> {
    let help = "say when first: `\"0 5 * * *\"`, `\"@daily\"` or `\"every 1h 30m\"`";
    let text: LitStr = input
        .parse()
        .map_err(|error| Error::new(error.span(), help))?;
    let value = text.value();
    let is_interval = value.trim_start().starts_with("every ");
    let fields = value
        .split(" in ")
        .next()
        .map_or(0, |it| it.split_whitespace().count());
    if is_interval || value.starts_with('@') || matches!(fields, 5 | 6) {
        return Ok(text);
    }
    let fault = format!("a crontab pattern has 5 or 6 fields, this has {fields}; {help}");
    Err(Error::new(text.span(), fault))
}

/// `skip`, `once`, `all` or `bounded 24`.
fn catch_up(text: &LitStr) -> Result<TokenStream> {
    let value = text.value();
    match &*value {
        "skip" => return Ok(quote!(::votive::CatchUp::Skip)),
        "once" => return Ok(quote!(::votive::CatchUp::Once)),
        "all" => return Ok(quote!(::votive::CatchUp::All)),
        _ => {}
    }
    let count = value
        .strip_prefix("bounded ")
        .and_then(|count| count.parse::<u32>().ok());
    match count {
        Some(count) if count > 0 => Ok(quote!(::votive::CatchUp::Bounded(#count))),
        _ => Err(Error::new(
            text.span(),
            "say `skip`, `once`, `all` or `bounded 24`",
        )),
    }
}
