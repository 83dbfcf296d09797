//! The fields of a type as its `Deserialize` asks for them: every member of every structure below it, by a path such as
//! `/linux/devices/*/major`, `*` standing for an item of a list or a member of a map.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The paths of all values in `T` that have no members themselves; a list or a map of such is one of them.
pub fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
    let found = RefCell::default();
    let walk = Walk { path: String::new(), found: &found };
    T::deserialize(walk).unwrap_or_else(|e| panic!("the walk ended early: {e}, after {:?}", found.borrow()));
    found.into_inner()
}

/// Stands for the value at a path, and answers whatever the type asks for with something it takes.
struct Walk<'a> {
    path: String,
    found: &'a RefCell<BTreeSet<String>>,
}

impl Walk<'_> {
    fn below(&self, name: &str) -> Self {
        Walk { path: format!("{}/{name}", self.path), found: self.found }
    }

    /// Notes that the value here has no members.
    fn leaf(&self) {
        let path = self.path.strip_suffix("/*").unwrap_or(&self.path);
        self.found.borrow_mut().insert(path.to_owned());
    }

    /// A text the types here take where not any text will do.
    fn text(&self) -> &'static str {
        if self.path.starts_with("/process/capabilities/") { "CAP_KILL" } else { "0" }
    }
}

/// Scalars: the leaf is noted, the value given.
macro_rules! leaves {
    ($($method:ident $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.leaf();
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Error;

    leaves! {
        deserialize_bool visit_bool true;
        deserialize_i8 visit_i8 1; deserialize_i16 visit_i16 1; deserialize_i32 visit_i32 1; deserialize_i64 visit_i64 1;
        deserialize_u8 visit_u8 1; deserialize_u16 visit_u16 1; deserialize_u32 visit_u32 1; deserialize_u64 visit_u64 1;
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.leaf();
        visitor.visit_str(self.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Members { of: self, names: &["*"], next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Members { of: self, names: &["*"], next: 0 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Members { of: self, names: fields, next: 0 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.leaf();
        visitor.visit_enum(words[0].into_deserializer())
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The members of a structure, or the one that stands for all of a list or a map.
struct Members<'a> {
    of: Walk<'a>,
    names: &'static [&'static str],
    next: usize,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let key: Option<StrDeserializer<'_, Error>> = self.names.get(self.next).map(|n| n.into_deserializer());
        self.next += 1;
        key.map(|key| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.of.below(self.names[self.next - 1]))
    }
}

impl<'de> SeqAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let name = self.names.get(self.next);
        self.next += 1;
        name.map(|name| seed.deserialize(self.of.below(name))).transpose()
    }
}
