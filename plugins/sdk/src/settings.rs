//! Settings: a struct with defaults and doc comments, from which the JSON Schema comes.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// Settings, as made by [`settings!`](crate::settings!).
pub trait Settings: Default + DeserializeOwned + JsonSchema {
    /// The JSON Schema, with every default.
    fn schema() -> String {
        schemars::SchemaGenerator::default().into_root_schema_for::<Self>().to_value().to_string()
    }
}

impl<S: Default + DeserializeOwned + JsonSchema> Settings for S {}

/// Declares a plugin's settings: every field has a doc comment and a default.
///
/// ```
/// sdk::settings! {
///     /// Settings of a canary.
///     pub struct Settings {
///         /// The table with the box scores.
///         pub table: sdk::TableName = "nba_raw.nbac_player_boxscore",
///         /// Minimum number of games.
///         pub min_games: f64 = 2,
///     }
/// }
/// assert_eq!(Settings::default().min_games, 2.0);
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        $visibility:vis struct $name:ident {
            $( $(#[$doc:meta])* $field_visibility:vis $field:ident : $kind:ty = $default:expr ),* $(,)?
        }
    ) => {
        #[derive(Debug, Clone, $crate::serde::Deserialize, $crate::serde::Serialize, $crate::schemars::JsonSchema)]
        #[serde(crate = "sdk::serde", default, deny_unknown_fields)]
        #[schemars(crate = "sdk::schemars")]
        $(#[$about])*
        $visibility struct $name {
            $( $(#[$doc])* $field_visibility $field: $kind, )*
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $( $field: ::std::convert::From::from($default), )* }
            }
        }
    };
}
