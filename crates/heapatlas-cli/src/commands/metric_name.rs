//! `--by`: by what the allocations of a profile are weighed.

use clap::ValueEnum;
use heapatlas_analysis::profile::Metric;

/// By what trees and exports are weighed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum MetricName {
    /// Bytes live at the end
    Live,
    /// Bytes live when the process held the most
    #[default]
    Peak,
    /// Blocks freed before their thread allocated anything else
    Temporary,
    /// Blocks ever allocated
    Allocations,
    /// Bytes ever allocated
    Total,
}

impl MetricName {
    /// As the analysis calls it.
    pub fn metric(self) -> Metric {
        match self {
            Self::Live => Metric::Live,
            Self::Peak => Metric::Peak,
            Self::Temporary => Metric::Temporary,
            Self::Allocations => Metric::Allocations,
            Self::Total => Metric::Bytes,
        }
    }

    /// In a heading.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Live => "live at end",
            Self::Peak => "at the peak",
            Self::Temporary => "temporary allocations",
            Self::Allocations => "allocations",
            Self::Total => "all bytes",
        }
    }
}
