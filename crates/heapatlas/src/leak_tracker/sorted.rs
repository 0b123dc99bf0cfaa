//! Small sets and maps as sorted lists. (The trees of the standard library would be a fifth of what the whole crate is to compile.)

/// Values, each once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SortedSet<T>(Vec<T>);

impl<T: Ord> SortedSet<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn insert(&mut self, value: T) {
        if let Err(index) = self.0.binary_search(&value) {
            self.0.insert(index, value);
        }
    }

    pub(crate) fn has(&self, value: &T) -> bool {
        self.0.binary_search(value).is_ok()
    }

    pub(crate) fn remove(&mut self, value: &T) {
        if let Ok(index) = self.0.binary_search(value) {
            self.0.remove(index);
        }
    }

    pub(crate) fn values(&self) -> &[T] {
        &self.0
    }

    pub(crate) fn into_values(self) -> Vec<T> {
        self.0
    }
}

/// Values by number. New numbers are the largest ones mostly.
pub(crate) struct Numbered<T>(Vec<(u32, T)>);

impl<T> Numbered<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, number: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |(number, _)| *number)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let index = self.find(number).ok()?;
        Some(&self.0[index].1)
    }

    /// Gives what is dropped for it: what had the number, or the one of the lowest number if there would be more than `most`.
    pub(crate) fn insert(&mut self, number: u32, value: T, most: usize) -> Option<T> {
        match self.find(number) {
            Ok(index) => Some(std::mem::replace(&mut self.0[index].1, value)),
            Err(index) => {
                self.0.insert(index, (number, value));
                (self.0.len() > most).then(|| self.0.remove(0).1)
            }
        }
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let index = self.find(number).ok()?;
        Some(self.0.remove(index).1)
    }
}

/// Texts in one line.
pub(crate) fn joined(texts: &[String], between: &str) -> String {
    let mut line = String::new();
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            line.push_str(between);
        }
        line.push_str(text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_has_each_value_once() {
        let mut set = SortedSet::new();
        for value in [5, 1, 3, 1, 5] {
            set.insert(value);
        }
        set.remove(&3);
        set.remove(&4);
        assert_eq!(set.values(), [1, 5]);
        assert!(set.has(&5) && !set.has(&3));
    }

    #[test]
    fn numbered_values_have_a_limit() {
        let mut numbered = Numbered::new();
        assert_eq!(numbered.insert(7, 'g', 2), None);
        assert_eq!(numbered.insert(3, 'c', 2), None);
        assert_eq!(numbered.insert(7, 'h', 2), Some('g'));
        assert_eq!(numbered.insert(9, 'i', 2), Some('c'));
        assert_eq!((numbered.get(7), numbered.get(3)), (Some(&'h'), None));
        assert_eq!((numbered.remove(7), numbered.remove(7)), (Some('h'), None));
    }
}
