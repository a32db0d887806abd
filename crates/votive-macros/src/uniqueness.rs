//! `unique`, and what stands in its parentheses: `unique(refuse, until_ended, after_enqueued = "1h")`.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Meta, Result, Token};

use crate::settings::{duration, name_of, once};

/// What may stand in the parentheses.
const WORDS: &str = "merge or refuse, until_ended, after_enqueued = \"1h\", after_ended = \"10m\"";

/// What is said of equal tasks, as tokens of `Uniqueness`.
pub(crate) fn uniqueness(meta: &Meta) -> Result<TokenStream> {
    let words = match meta {
        Meta::Path(_) => Punctuated::new(),
        Meta::List(list) => {
            list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?
        }
        Meta::NameValue(pair) => {
            let help = "a task is unique by its arguments: say `unique` or `unique(refuse)`; a key of \
                        your own is given when one is enqueued, by `.unique(key)`";
            return Err(Error::new(pair.span(), help));
        }
    };
    let mut said = Said::default();
    for word in &words {
        said.take(word)?;
    }
    Ok(said.into_tokens())
}

#[derive(Default)]
struct Said {
    seen: BTreeSet<String>,
    /// `merge` or `refuse`, as tokens of `OnDuplicate`.
    on_duplicate: Option<TokenStream>,
    until_ended: bool,
    /// Durations, as tokens.
    after_enqueued: Option<TokenStream>,
    after_ended: Option<TokenStream>,
}

impl Said {
    fn take(&mut self, word: &Meta) -> Result<()> {
        once(&mut self.seen, word)?;
        match &*name_of(word) {
            "merge" => self.judge(word, quote!(::votive::task::OnDuplicate::Merge)),
            "refuse" => self.judge(word, quote!(::votive::task::OnDuplicate::Refuse)),
            "until_ended" => {
                self.until_ended = true;
                word.require_path_only().map(drop)
            }
            "after_enqueued" => {
                self.after_enqueued = Some(duration(word)?);
                Ok(())
            }
            // Who rests after the end has held the key until then.
            "after_ended" => {
                self.until_ended = true;
                self.after_ended = Some(duration(word)?);
                Ok(())
            }
            _ => Err(Error::new(word.span(), format!("say {WORDS}"))),
        }
    }

    fn judge(&mut self, word: &Meta, on_duplicate: TokenStream) -> Result<()> {
        word.require_path_only()?;
        match self.on_duplicate.replace(on_duplicate) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                word.span(),
                "the second task merges or is refused, not both",
            )),
        }
    }

    fn into_tokens(self) -> TokenStream {
        let merge = || quote!(::votive::task::OnDuplicate::Merge);
        let on_duplicate = self.on_duplicate.unwrap_or_else(merge);
        let until_ended = self.until_ended;
        let after_enqueued = optional(self.after_enqueued);
        let after_ended = optional(self.after_ended);
        quote! {
            ::votive::task::Uniqueness::new(
                #on_duplicate,
                ::votive::task::Hold {
                    until_ended: #until_ended,
                    after_enqueued: #after_enqueued,
                    after_ended: #after_ended,
                },
            )
        }
    }
}

fn optional(value: Option<TokenStream>) -> TokenStream {
    let none = quote!(::core::option::Option::None);
    value.map_or(none, |value| quote!(::core::option::Option::Some(#value)))
}
