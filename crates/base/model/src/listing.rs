//! Lists as Cloud KMS answers them: `filter`, `orderBy`, `pageSize`, `pageToken`, `totalSize`. Read [`Listing`] first.

mod fields;
mod filter;
mod order;
mod page_token;
mod parser;

use crate::ErrorClass;

pub use fields::{FieldKind, FieldValue, Fields, ListedKey};
pub use filter::Filter;
pub use order::OrderBy;
pub use page_token::{issue_token, read_token};
pub use parser::{MAX_DEPTH, MAX_FILTER_LEN, Node, Operator, Restriction, parse_filter};

/// Size of a page when the caller asks for none.
pub const DEFAULT_PAGE_SIZE: usize = 100;
/// Largest page; who asks for more gets this.
pub const MAX_PAGE_SIZE: usize = 1_000;

/// A request for a list, checked. `T` is what is listed: what a filter may name depends on it.
#[derive(Debug)]
pub struct Listing<T> {
    page_size: usize,
    filter: Filter<T>,
    order: OrderBy,
    /// What a token is bound to.
    bound_to: [String; 3],
    after: Option<String>,
}

/// What a caller sends, as it is in the request; empty texts are not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRequest<'a> {
    /// The name of the parent.
    pub parent: &'a str,
    /// 0 for the default.
    pub page_size: i32,
    /// From the answer before.
    pub page_token: &'a str,
    /// Such as `state=ENABLED AND name:payments`.
    pub filter: &'a str,
    /// Such as `name desc`.
    pub order_by: &'a str,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
    /// How many there are on all pages, after filtering.
    pub total_size: usize,
}

impl<T: Fields> Listing<T> {
    /// Checks a request.
    pub fn parse(request: &ListRequest<'_>) -> Result<Self, InvalidListing> {
        let filter = Filter::parse(request.filter)?;
        let order = OrderBy::parse(request.order_by)?;
        let bound_to = [request.parent.to_owned(), request.filter.to_owned(), order.to_string()];
        let after = match request.page_token {
            "" => None,
            token => Some(read_token(token, &bound_to)?),
        };
        Ok(Self { page_size: page_size(request.page_size)?, filter, order, bound_to, after })
    }

    /// Whether the list is everything in the order of names: then a page is read from where it begins and no further.
    pub fn is_plain(&self) -> bool {
        self.filter.is_empty() && self.order == OrderBy::default()
    }

    /// Whether the filter names a field that begins with this.
    pub fn filters_by(&self, prefix: &str) -> bool {
        self.filter.names(prefix)
    }

    /// The last part of the name of the last item on the page before; none on the first page. For a plain list.
    pub fn begins_after(&self) -> Option<&str> {
        self.after.as_deref()?.rsplit('/').next()
    }

    /// How many items of a plain list to read: one more than fit, to know whether there is another page.
    pub fn wanted(&self) -> usize {
        self.page_size + 1
    }

    /// A page of a plain list, out of the [`wanted`](Self::wanted) items from where it begins.
    pub fn plain_page(&self, mut items: Vec<T>, total_size: usize) -> Page<T> {
        let more = items.len() > self.page_size;
        items.truncate(self.page_size);
        let next_page_token = match items.last() {
            Some(last) if more => issue_token(&self.order.key(last), &self.bound_to),
            _ => String::new(),
        };
        Page { items, next_page_token, total_size }
    }

    /// Begins the page that was asked for, out of all that the parent has.
    pub fn sieve(&self) -> Sieve<'_, T> {
        Sieve { listing: self, kept: Vec::new(), total_size: 0 }
    }

    /// The page that was asked for, out of all that the parent has.
    pub fn page(&self, all: impl IntoIterator<Item = T>) -> Page<T> {
        let mut sieve = self.sieve();
        all.into_iter().for_each(|item| sieve.add(item));
        sieve.page()
    }
}

/// A page that is found while its list is read, in any order. It holds two pages at most, however long the list is. A page
/// begins after the last item of the one before, so nothing is shown twice or left out when others come and go in between.
pub struct Sieve<'a, T> {
    listing: &'a Listing<T>,
    kept: Vec<(String, T)>,
    total_size: usize,
}

impl<T: Fields> Sieve<'_, T> {
    /// Takes the next item of the list.
    pub fn add(&mut self, item: T) {
        let Listing { filter, order, after, .. } = self.listing;
        if !filter.matches(&item) {
            return;
        }
        self.total_size += 1;
        let key = order.key(&item);
        if after.as_ref().is_some_and(|after| order.compare(&key, after).is_le()) {
            return;
        }
        self.kept.push((key, item));
        if self.kept.len() >= 2 * self.listing.wanted() {
            self.drop_rest();
        }
    }

    /// The page, once the list has no more.
    pub fn page(mut self) -> Page<T> {
        self.drop_rest();
        let Listing { page_size, bound_to, .. } = self.listing;
        let more = self.kept.len() > *page_size;
        self.kept.truncate(*page_size);
        let next_page_token = match self.kept.last() {
            Some((key, _)) if more => issue_token(key, bound_to),
            _ => String::new(),
        };
        let items = self.kept.into_iter().map(|(_, item)| item).collect();
        Page { items, next_page_token, total_size: self.total_size }
    }

    /// One more than fit stays, so that it is known whether there is another page.
    fn drop_rest(&mut self) {
        let order = &self.listing.order;
        self.kept.sort_by(|(a, _), (b, _)| order.compare(a, b));
        self.kept.truncate(self.listing.wanted());
    }
}

/// The size of a page as it will be.
pub fn page_size(asked: i32) -> Result<usize, InvalidListing> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(InvalidListing::PageSize { asked }),
    }
}

/// Why a list cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListing {
    /// A negative size.
    #[error("page_size must not be negative, but is {asked}.")]
    PageSize {
        /// What was asked.
        asked: i32,
    },
    /// Not a token of this server, or not of this request.
    #[error(
        "page_token does not belong to this request: send the next_page_token of the answer before, with the same parent, filter \
         and order_by."
    )]
    PageToken,
    /// Not an order.
    #[error("order_by must be `name`, `create_time` or one of them with ` desc`, not {given:?}.")]
    OrderBy {
        /// What was given, cut.
        given: String,
    },
    /// Longer than [`MAX_FILTER_LEN`].
    #[error("filter must be at most {MAX_FILTER_LEN} bytes.")]
    FilterTooLong,
    /// More than [`MAX_DEPTH`] parentheses and negations inside each other.
    #[error("filter must not be nested deeper than {MAX_DEPTH} levels.")]
    FilterTooDeep,
    /// Not the language of filters.
    #[error("filter cannot be read at character {at}: {expected} is expected, but there is {found}.")]
    FilterSyntax {
        /// Where, in characters from 1.
        at: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A field that what is listed does not have.
    #[error("filter names the unknown field {field:?}. Known fields: {known}.")]
    UnknownField {
        /// What was given, cut.
        field: String,
        /// What there is.
        known: String,
    },
    /// A value that the field cannot have.
    #[error("filter compares {field} with {value:?}, which is not {wanted}.")]
    FilterValue {
        /// The field.
        field: String,
        /// What was given, cut.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// An operator that the field does not have.
    #[error("filter cannot use `{operator}` on {field}, which is {kind}.")]
    FilterOperator {
        /// The field.
        field: String,
        /// The operator.
        operator: &'static str,
        /// What the field holds.
        kind: &'static str,
    },
}

impl InvalidListing {
    /// `Invalid`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}
