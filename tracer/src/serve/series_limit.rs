//! A page has room for so many series: which groups lose their names then, and to whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::group::Group;
use super::groups::Books;
use super::labels::{ENDED, Key, OVERFLOW};

impl Books {
    /// Merges groups until they have no more than `limit` series: first those without living processes, the
    /// oldest first, into `ended`; then the youngest into `overflow`. `series` counts a group's. Says how many
    /// series there are then.
    pub fn make_room(&mut self, limit: usize, series: impl Fn(&Key, &Group) -> usize) -> usize {
        let (ended, overflow) = (self.group_by.special(ENDED), self.group_by.special(OVERFLOW));
        let mut moved = BTreeMap::new();
        let mut sum = self.count(&series);
        // More than once, because the group that others are merged into may get more series by that.
        while sum > limit {
            let chosen = self.first_to_go(sum - limit);
            if chosen.is_empty() {
                break;
            }
            for (key, lives) in chosen {
                let (to, merged) = match lives {
                    true => (&overflow, &mut self.merged.1),
                    false => (&ended, &mut self.merged.0),
                };
                *merged += 1;
                self.merge(&key, to);
                moved.insert(key, to);
            }
            sum = self.count(&series);
        }
        if !moved.is_empty() {
            self.reseat(&moved);
        }
        sum
    }

    fn count(&mut self, series: impl Fn(&Key, &Group) -> usize) -> usize {
        let count = |(key, group): (&Key, &mut Box<Group>)| {
            let known = group.series.unwrap_or_else(|| series(key, group));
            *group.series.insert(known)
        };
        self.groups.iter_mut().map(count).sum()
    }

    /// Groups that have at least `excess` series, if there are so many, and whether any of their processes live.
    fn first_to_go(&self, excess: usize) -> Vec<(Key, bool)> {
        let specials = self.specials();
        let candidate = |(key, group): (_, &Group)| {
            let lives = group.living > 0;
            // Dead ones by age, then living ones by youth.
            let rank = if lives { u64::MAX - group.order } else { group.order };
            Reverse((lives, rank, group.series.unwrap_or(0), key))
        };
        // A heap, because of thousands of groups most often a few have to go.
        let mut candidates: BinaryHeap<_> =
            self.groups().filter(|(key, _)| !specials.contains(key)).map(candidate).collect();
        let (mut chosen, mut series) = (Vec::new(), 0);
        while series < excess
            && let Some(Reverse((lives, _, size, key))) = candidates.pop()
        {
            series += size;
            chosen.push((key.clone(), lives));
        }
        chosen
    }

    fn reseat(&mut self, moved: &BTreeMap<Key, &Key>) {
        for seat in self.seats.values_mut() {
            seat.former.retain(|former| !moved.contains_key(former));
            if let Some(to) = moved.get(&seat.key) {
                seat.key = (*to).clone();
            }
        }
    }
}
