//! What a list of rows answers: those that can be read, and those that cannot. A damaged row stops nothing but itself, and is told.

use crate::fault::PortError;
use crate::ids::{ReleaseId, ServiceName};

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot be read: {}", problem.message)]
pub struct Damaged {
    /// What it is, for people: `service checkout`, `release 01k…`, `entry 3 of the history of release 01k…`.
    pub name: String,
    /// The service its key names.
    pub service: Option<ServiceName>,
    /// The release its key names.
    pub release: Option<ReleaseId>,
    /// What is wrong, with the row's keys.
    pub problem: PortError,
}

/// The rows of a list. There is no way to the readable ones past the damaged ones: whoever takes the rows says what becomes of the rest.
#[must_use = "rows that cannot be read are to be told"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    rows: Vec<T>,
    damaged: Vec<Damaged>,
}

impl<T> Listing<T> {
    /// Rows, and what cannot be read.
    pub fn new(rows: Vec<T>, damaged: Vec<Damaged>) -> Self {
        Self { rows, damaged }
    }

    /// The rows that are meant, with everything that is damaged: it may be one of them.
    pub fn filter(mut self, meant: impl FnMut(&T) -> bool) -> Self {
        self.rows.retain(meant);
        self
    }

    /// Both lists, one behind the other.
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.damaged.extend(other.damaged);
        self
    }

    /// The rows, and what cannot be read.
    pub fn split(self) -> (Vec<T>, Vec<Damaged>) {
        (self.rows, self.damaged)
    }

    /// The rows; what cannot be read is told to `failed`, once.
    pub fn tell(self, failed: &mut Vec<String>) -> Vec<T> {
        for damaged in &self.damaged {
            let told = damaged.to_string();
            if !failed.contains(&told) {
                failed.push(told);
            }
        }
        self.rows
    }

    /// All rows or, when one cannot be read, its error: for who must not act on a part.
    pub fn whole(self) -> Result<Vec<T>, PortError> {
        match self.damaged.into_iter().next() {
            Some(damaged) => Err(damaged.problem),
            None => Ok(self.rows),
        }
    }
}

impl<T> From<Vec<T>> for Listing<T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, damaged: Vec::new() }
    }
}

impl<T> FromIterator<Result<T, Box<Damaged>>> for Listing<T> {
    fn from_iter<I: IntoIterator<Item = Result<T, Box<Damaged>>>>(read: I) -> Self {
        let mut listing = Self::from(Vec::new());
        for row in read {
            match row {
                Ok(row) => listing.rows.push(row),
                Err(damaged) => listing.damaged.push(*damaged),
            }
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::ErrorKind;

    fn damaged(name: &str) -> Damaged {
        let message = format!("row {name} is not JSON");
        let problem = PortError::new(ErrorKind::Invalid, "dynamodb:Query", "CorruptRow", message);
        Damaged { name: name.into(), service: None, release: None, problem }
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_keeps_nothing_back() {
        let listing =
            || [Ok(1), Err(Box::new(damaged("service b"))), Ok(3)].into_iter().collect::<Listing<i32>>();
        let mut failed = Vec::new();
        assert_eq!(listing().tell(&mut failed), [1, 3]);
        assert_eq!(listing().tell(&mut failed), [1, 3]);
        assert_eq!(failed, ["service b cannot be read: row service b is not JSON"]);
        assert_eq!(listing().whole().unwrap_err().code, "CorruptRow");
        assert_eq!(Listing::from(vec![1]).whole().unwrap(), [1]);
    }
}
