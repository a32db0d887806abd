//! Writes the task beside its function.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Ident, ItemFn, LitStr, Type};

use crate::function::{Argument, Function};
use crate::settings::Settings;
use crate::timing::Timing;

/// Writes the function and its task.
pub(crate) fn task(settings: &Settings, function: &Function) -> TokenStream {
    let Function { item, .. } = function;
    let name = &item.sig.ident;
    let conditions = conditions(item);
    let parts = [
        structure(function),
        task_impl(settings, name),
        declared_impl(function),
        constructors(settings, function),
        quote! {
            ::votive::expansion::inventory::submit! {
                ::votive::handler::Declaration::of::<#name>()
            }
        },
    ];
    quote! {
        // A task owns its arguments, whether its function needs that or not.
        #[allow(clippy::needless_pass_by_value)]
        #item
        #(#conditions #parts)*
    }
}

/// Writes the function, its task, and when that comes.
///
/// # Errors
/// An argument has no value.
pub(crate) fn periodic(timing: &Timing, function: &Function) -> syn::Result<TokenStream> {
    let (item, name) = (&function.item, &function.item.sig.ident);
    let values = timing.values(&function.arguments)?;
    let Timing {
        schedule,
        name: entry,
        zone,
        catch_up,
        expires_after,
        settings,
        ..
    } = timing;
    let (entry, zone) = (entry.iter(), zone.iter());
    let (catch_up, expires_after) = (catch_up.iter(), expires_after.iter());
    let conditions = conditions(item);
    let task = task(settings, function);
    Ok(quote! {
        #task
        #conditions
        impl ::votive::handler::Recurring for #name {
            fn recurring() -> ::votive::queue::Draft<Self> {
                Self::task(#(#values),*)
            }
        }
        #conditions
        ::votive::expansion::inventory::submit! {
            ::votive::handler::PeriodicDeclaration::of::<#name>(#schedule)
                #(.name(#entry))*
                #(.zone(#zone))*
                #(.catch_up(#catch_up))*
                #(.expires_after(#expires_after))*
        }
    })
}

/// Writes the function as it is, and why it is no task.
pub(crate) fn refused(item: &ItemFn, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}

/// On what the function depends, as does all that is written for it.
fn conditions(item: &ItemFn) -> TokenStream {
    let conditions = attributes(item, "cfg");
    quote!(#(#conditions)*)
}

fn attributes<'a>(item: &'a ItemFn, name: &'a str) -> impl Iterator<Item = &'a Attribute> {
    let is_named = move |attribute: &&Attribute| attribute.path().is_ident(name);
    item.attrs.iter().filter(is_named)
}

/// The arguments as fields.
fn structure(function: &Function) -> TokenStream {
    let (visibility, name) = (&function.item.vis, &function.item.sig.ident);
    let docs = attributes(&function.item, "doc");
    let note = format!("\n\nThis is the task of the function `{name}`: its arguments.");
    let fields = function.arguments.iter().map(|argument| {
        let Argument {
            attributes,
            name,
            kind,
        } = argument;
        let doc = format!("The argument `{name}`.");
        quote!(#[doc = #doc] #(#attributes)* #visibility #name: #kind)
    });
    quote! {
        #(#docs)*
        #[doc = #note]
        #[allow(non_camel_case_types)]
        #[derive(::votive::expansion::serde::Serialize, ::votive::expansion::serde::Deserialize)]
        #[serde(crate = "::votive::expansion::serde")]
        #visibility struct #name { #(#fields),* }
    }
}

fn kind(settings: &Settings, name: &Ident) -> LitStr {
    let own = || LitStr::new(&name.unraw().to_string(), name.span());
    settings.kind.clone().unwrap_or_else(own)
}

fn task_impl(settings: &Settings, name: &Ident) -> TokenStream {
    let kind = kind(settings, name);
    let queue = settings.queue.iter();
    let version = settings.version.iter();
    let unique = settings.unique.iter();
    let upgrade = settings.upgrade.iter();
    let (options, retry) = (&settings.options, &settings.retry);
    quote! {
        impl ::votive::Task for #name {
            const KIND: &'static str = #kind;
            #(const QUEUE: &'static str = #queue;)*
            #(const VERSION: u32 = #version;)*
            #(
                const UNIQUE: ::core::option::Option<::votive::task::Uniqueness> =
                    ::core::option::Option::Some(#unique);
            )*

            fn options() -> ::votive::task::Options {
                ::votive::task::Options {
                    #(#options,)*
                    retry: ::votive::task::RetryPolicy {
                        #(#retry,)*
                        ..::core::default::Default::default()
                    },
                    ..::core::default::Default::default()
                }
            }

            #(
                fn upgrade(
                    payload: &::votive::task::Payload,
                ) -> ::core::result::Result<Self, ::votive::task::PayloadError> {
                    #upgrade(payload)
                }
            )*
        }
    }
}

fn declared_impl(function: &Function) -> TokenStream {
    let name = &function.item.sig.ident;
    let text = name.unraw().to_string();
    let context = function.has_context.then(|| quote!(context,));
    let fields = function.arguments.iter().map(|argument| &argument.name);
    // What is wrong with the type that is returned is shown there.
    let returned = quote_spanned!(function.item.sig.output.span()=>
        ::votive::handler::Returned::returned);
    quote! {
        impl ::votive::handler::Declared for #name {
            const ORIGIN: ::votive::handler::Origin = ::votive::handler::Origin::new(
                ::core::concat!(::core::module_path!(), "::", #text),
                ::core::file!(),
                ::core::line!(),
            );

            fn run(
                self,
                context: &mut ::votive::Context<'_>,
            ) -> ::core::result::Result<(), ::votive::txn::BoxError> {
                #returned(#name(#context #(self.#fields),*), context)
            }
        }
    }
}

/// The functions that make a task of arguments.
fn constructors(settings: &Settings, function: &Function) -> TokenStream {
    let (visibility, name) = (&function.item.vis, &function.item.sig.ident);
    let kind = kind(settings, name);
    let names: Vec<_> = function.arguments.iter().map(|it| &it.name).collect();
    let (given, values): (Vec<_>, Vec<_>) = function.arguments.iter().map(given).unzip();
    // Not to be confused with arguments of the same name.
    let (to, work) = (
        Ident::new("to", Span::mixed_site()),
        format_ident!("work", span = Span::mixed_site()),
    );
    quote! {
        #[allow(dead_code, clippy::too_many_arguments)]
        impl #name {
            /// The type tag under which the task is stored.
            #visibility const KIND: &'static str = #kind;

            /// Drafts the task, for options of its own before it is enqueued.
            #visibility fn task(#(#given),*) -> ::votive::queue::Draft<Self> {
                ::votive::queue::Draft::new(Self { #(#names: #values),* })
            }

            /// Enqueues the task. It becomes visible when `work` commits.
            ///
            /// # Errors
            /// Nothing was enqueued; the transaction can go on.
            #visibility fn enqueue(
                #to: &impl ::votive::queue::Destination,
                #work: &mut ::votive::Work,
                #(#given),*
            ) -> ::core::result::Result<::votive::id::TaskId, ::votive::queue::EnqueueError> {
                Self::task(#(#names),*).enqueue(#to, #work)
            }
        }
    }
}

/// How an argument is given, and how that becomes its value: text may be given as it is at hand.
fn given(argument: &Argument) -> (TokenStream, TokenStream) {
    let Argument { name, kind, .. } = argument;
    if is_text(kind) {
        let given = quote!(#name: impl ::core::convert::Into<#kind>);
        return (given, quote!(::core::convert::Into::into(#name)));
    }
    (quote!(#name: #kind), name.to_token_stream())
}

fn is_text(kind: &Type) -> bool {
    let Type::Path(path) = kind else {
        return false;
    };
    let last = path.path.segments.last();
    last.is_some_and(|segment| segment.ident == "String" || segment.ident == "PathBuf")
}
