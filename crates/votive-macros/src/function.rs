//! The function, and what it must be for a task.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, Pat, PatType, Result, Signature, Type};

/// A function that can be a task.
pub(crate) struct Function {
    /// As it was, without what belongs to the fields.
    pub(crate) item: ItemFn,
    /// Whether it takes the context.
    pub(crate) has_context: bool,
    pub(crate) arguments: Vec<Argument>,
}

/// An argument that is part of the task.
pub(crate) struct Argument {
    /// Attributes of the field.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) name: Ident,
    pub(crate) kind: Box<Type>,
}

impl Function {
    /// Reads a function.
    ///
    /// # Errors
    /// All reasons why it cannot be a task.
    pub(crate) fn read(mut item: ItemFn) -> Result<Self> {
        let mut faults = Faults(shape(&item.sig));
        let mut has_context = false;
        let mut arguments = Vec::new();
        for (position, input) in item.sig.inputs.iter_mut().enumerate() {
            match input {
                FnArg::Typed(typed) if is_context(&typed.ty) && position == 0 => has_context = true,
                FnArg::Typed(typed) if is_context(&typed.ty) => {
                    faults.add(typed.span(), "the context is a task's first argument");
                }
                FnArg::Typed(typed) => arguments.extend(faults.take(argument(typed))),
                // A method; `shape` says so.
                FnArg::Receiver(_) => {}
            }
        }
        faults.into_result()?;
        Ok(Self {
            item,
            has_context,
            arguments,
        })
    }
}

/// What is wrong, all of it in one error.
struct Faults(Option<Error>);

impl Faults {
    fn add(&mut self, span: Span, text: &str) {
        self.take::<()>(Err(Error::new(span, text)));
    }

    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        match (result, &mut self.0) {
            (Ok(value), _) => return Some(value),
            (Err(error), Some(faults)) => faults.combine(error),
            (Err(error), none) => *none = Some(error),
        }
        None
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What is wrong with the signature beside its arguments.
fn shape(signature: &Signature) -> Option<Error> {
    let mut faults = Faults(None);
    if let Some(word) = &signature.asyncness {
        let text = "a task cannot be async: at an await its transaction would be left open; \
                    block on a runtime inside";
        faults.add(word.span(), text);
    }
    if let Some(receiver) = signature.receiver() {
        let text = "a task cannot be a method: make it a function, and what it needs an argument";
        faults.add(receiver.span(), text);
    }
    if !signature.generics.params.is_empty() {
        let text = "a task cannot be generic: its kind stands for one function, with arguments of \
                    types that are stored";
        faults.add(signature.generics.params.span(), text);
    }
    if signature.variadic.is_some() {
        faults.add(
            signature.variadic.span(),
            "a task has a fixed number of arguments",
        );
    }
    faults.0
}

fn is_context(kind: &Type) -> bool {
    let Type::Reference(reference) = kind else {
        return false;
    };
    let Type::Path(path) = &*reference.elem else {
        return false;
    };
    let last = path.path.segments.last();
    last.is_some_and(|segment| segment.ident == "Context")
}

/// Reads an argument, and takes from it the attributes of the field.
fn argument(typed: &mut PatType) -> Result<Argument> {
    let name = match &*typed.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => name.ident.clone(),
        pattern => {
            let text = "a task's arguments are stored by their names: name this one, and take it \
                        apart in the function";
            return Err(Error::new(pattern.span(), text));
        }
    };
    owned(typed.ty.to_token_stream())?;
    let is_serde = |attribute: &mut Attribute| attribute.path().is_ident("serde");
    Ok(Argument {
        attributes: typed.attrs.extract_if(.., is_serde).collect(),
        name,
        kind: typed.ty.clone(),
    })
}

/// Refuses a type that borrows, or that is not one type.
fn owned(tokens: TokenStream) -> Result<()> {
    let mut after_tick = false;
    for token in tokens {
        let fault = match &token {
            TokenTree::Punct(punct) if punct.as_char() == '&' => true,
            TokenTree::Ident(lifetime) if after_tick => lifetime != "static",
            TokenTree::Ident(word) if word == "impl" => {
                let text = "a task cannot be generic: say of which type this argument is";
                return Err(Error::new(word.span(), text));
            }
            TokenTree::Group(group) => {
                owned(group.stream())?;
                false
            }
            _ => false,
        };
        if fault {
            let text = "a task owns its arguments, because it runs later: take a `String` instead of \
                        a `&str`, a `Vec` instead of a slice";
            return Err(Error::new(token.span(), text));
        }
        after_tick = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
    }
    Ok(())
}
