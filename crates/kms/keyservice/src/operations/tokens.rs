//! Tokens: made, listed, revoked; and what a signed token is exchanged for.

mod create_token;
mod exchange_token;
mod list_tokens;
mod revoke_token;

pub use create_token::{CreateToken, NewToken};
pub(super) use create_token::{draw_token, expire_time};
pub use exchange_token::{TokenAnswer, TokenRefusal};
pub use list_tokens::{ListTokens, TokenPage};
pub use revoke_token::RevokeToken;
