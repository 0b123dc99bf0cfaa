// Inlined functions in inlined functions, generics, closures, methods, and functions in functions.
use std::collections::HashMap;

trait Area {
    fn area(&self) -> f64;
}

struct Grid<T, const N: usize>(Vec<[T; N]>);

impl<T: Copy + Into<f64>, const N: usize> Area for Grid<T, N> {
    #[inline(always)]
    fn area(&self) -> f64 {
        self.0.iter().flatten().map(|cell| (*cell).into()).sum()
    }
}

mod inner {
    pub mod innermost {
        #[inline(always)]
        pub fn twice(number: usize) -> usize {
            fn once(number: usize) -> usize {
                number ^ 0x55
            }
            once(number) + once(number + 1)
        }
    }

    #[inline(always)]
    pub fn four_times(number: usize) -> usize {
        innermost::twice(number) * innermost::twice(number + 3)
    }
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_insert(0) += inner::four_times(word.len());
    }
    counts
}

fn main() {
    let count = std::env::args().count();
    let shapes: Vec<Box<dyn Area>> = vec![
        Box::new(Grid::<f32, 3>(vec![[1.5; 3]; count])),
        Box::new(Grid::<u8, 5>(vec![[2; 5]; inner::four_times(count)])),
    ];
    let areas: Vec<String> = shapes.iter().map(|shape| shape.area().to_string()).collect();
    let mut sorted: Vec<_> = words(&areas.join(" ")).into_iter().collect();
    sorted.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    std::thread::spawn(move || println!("{sorted:?}")).join().unwrap();
}
