//! Values of parameters.

use rusqlite::ToSql;

use super::Error;

/// The values of a statement's parameters, in the order of their numbers.
pub(in crate::store) trait Params {
    /// Hands each to `take`.
    fn each(&self, take: &mut dyn FnMut(&dyn ToSql) -> Result<(), Error>) -> Result<(), Error>;
}

/// Values of one type.
pub(in crate::store) struct FromIter<I>(I);

/// Values of different types.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::store::sql::ToSql),*] as &[&dyn $crate::store::sql::ToSql]
    };
}

pub(in crate::store) use params;

/// As many values as there are.
pub(in crate::store) fn params_from_iter<I>(values: I) -> FromIter<I>
where
    I: IntoIterator + Clone,
    I::Item: ToSql,
{
    FromIter(values)
}

/// Gives a statement its values.
pub(super) fn bind(
    statement: &mut rusqlite::Statement<'_>,
    params: &impl Params,
) -> Result<(), Error> {
    let mut count = 0;
    params.each(&mut |value| {
        count += 1;
        Ok(statement.raw_bind_parameter(count, value)?)
    })?;
    let expected = statement.parameter_count();
    if count != expected {
        return Err(rusqlite::Error::InvalidParameterCount(count, expected).into());
    }
    Ok(())
}

impl Params for &[&dyn ToSql] {
    fn each(&self, take: &mut dyn FnMut(&dyn ToSql) -> Result<(), Error>) -> Result<(), Error> {
        self.iter().try_for_each(|value| take(*value))
    }
}

impl Params for [&dyn ToSql; 0] {
    fn each(&self, _: &mut dyn FnMut(&dyn ToSql) -> Result<(), Error>) -> Result<(), Error> {
        Ok(())
    }
}

macro_rules! arrays {
    ($($length:literal)*) => {$(
        impl<T: ToSql> Params for [T; $length] {
            fn each(
                &self,
                take: &mut dyn FnMut(&dyn ToSql) -> Result<(), Error>,
            ) -> Result<(), Error> {
                self.iter().try_for_each(|value| take(value))
            }
        }
    )*};
}

arrays!(1 2 3 4);

impl<I> Params for FromIter<I>
where
    I: IntoIterator + Clone,
    I::Item: ToSql,
{
    fn each(&self, take: &mut dyn FnMut(&dyn ToSql) -> Result<(), Error>) -> Result<(), Error> {
        let mut values = self.0.clone().into_iter();
        values.try_for_each(|value| take(&value))
    }
}
