//! The fields that a query or a body is read from, as its type itself tells them to serde: so the document cannot differ from
//! what the handler takes.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::Error},
    forward_to_deserialize_any,
};
use serde_json::{Value, json};

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// Whether the request is refused without it.
    pub(super) is_required: bool,
    /// Its type, as JSON Schema has it.
    pub(super) schema: Value,
}

/// Returns the fields of a type.
pub(super) fn fields<T: for<'de> Deserialize<'de>>() -> Vec<Field> {
    let mut names: &'static [&'static str] = &[];
    let without_any = T::deserialize(Asked { names: &mut names, only: None, told: &mut Told::default() });
    // A type of which every field has a default is read from nothing.
    let has_defaults = without_any.is_ok();
    let mut ignored: &'static [&'static str] = &[];
    let mut field = |name: &'static str| {
        let mut told = Told::default();
        // Fails at the first value, by which its type is known.
        drop(T::deserialize(Asked { names: &mut ignored, only: Some(name), told: &mut told }));
        // A box of a form that is not checked is not sent.
        let is_box = told.schema["type"] == "boolean";
        let is_required = !has_defaults && !told.is_optional && !is_box;
        Field { name, is_required, schema: told.schema }
    };
    names.iter().map(|name| field(name)).collect()
}

/// What a field has told of itself.
#[derive(Debug)]
struct Told {
    is_optional: bool,
    schema: Value,
}

impl Default for Told {
    fn default() -> Self {
        Self { is_optional: false, schema: json!({}) }
    }
}

/// Asks a struct for its names, and one of its fields for its type.
struct Asked<'a> {
    names: &'a mut &'static [&'static str],
    only: Option<&'static str>,
    told: &'a mut Told,
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only structs have fields"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.names = fields;
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Asked<'_> {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let name = self.only.take().map(serde::de::value::StrDeserializer::<Error>::new);
        name.map(|name| seed.deserialize(name)).transpose()
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(OfType(self.told))
    }
}

/// Notes the type that a field asks for.
struct OfType<'a>(&'a mut Told);

macro_rules! note {
    ($($method:ident: $kind:literal,)+) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            self.0.schema = json!({ "type": $kind });
            Err(Error::custom("the type is known"))
        })+
    };
}

impl<'de> Deserializer<'de> for OfType<'_> {
    type Error = Error;

    note! {
        deserialize_bool: "boolean",
        deserialize_i8: "integer", deserialize_i16: "integer", deserialize_i32: "integer", deserialize_i64: "integer",
        deserialize_u8: "integer", deserialize_u16: "integer", deserialize_u32: "integer", deserialize_u64: "integer",
        deserialize_f32: "number", deserialize_f64: "number",
        deserialize_char: "string", deserialize_str: "string", deserialize_string: "string",
        deserialize_seq: "array", deserialize_map: "object",
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("any type"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.is_optional = true;
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.schema = json!({ "type": "string", "enum": variants });
        Err(Error::custom("the type is known"))
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its fields are asked for")]
    struct Form {
        name: String,
        role: Role,
        before: Option<i64>,
    }

    #[test]
    fn a_type_tells_its_fields_which_are_required_and_what_they_hold() {
        let roles = json!({ "type": "string", "enum": ["viewer", "support", "operator", "admin"] });
        let field = |name, is_required, schema| Field { name, is_required, schema };
        assert_eq!(
            fields::<Form>(),
            [
                field("name", true, json!({ "type": "string" })),
                field("role", true, roles),
                field("before", false, json!({ "type": "integer" })),
            ]
        );
    }
}
