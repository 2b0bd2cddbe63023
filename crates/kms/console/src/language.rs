use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use crate::texts::{ENGLISH, KOREAN, Texts};

/// A language of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Korean,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Korean];

    /// As `lang` in HTML and the cookie have it.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }

    /// Its name in itself.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Korean => "한국어",
        }
    }

    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Korean => &KOREAN,
        }
    }

    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// What `Accept-Language` prefers: RFC 9110, section 12.5.4. English for whoever asks for neither.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let wanted = headers.get_all(ACCEPT_LANGUAGE).into_iter().filter_map(|value| value.to_str().ok());
        let mut best = (0.0, Self::English);
        for range in wanted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|it| it.strip_prefix("q=")).map_or(Some(1.0), |it| it.parse().ok());
            let primary = tag.split('-').next().unwrap_or_default();
            if let (Some(language), Some(weight)) = (Self::of_code(primary), weight)
                && weight > best.0
            {
                best = (weight, language);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepted(header: &'static str) -> Language {
        Language::accepted(&HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(header))]))
    }

    #[test]
    fn u1_the_browser_chooses_the_language() {
        for (header, language) in [
            ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", Language::Korean),
            ("en-US,en;q=0.9,ko;q=0.8", Language::English),
            ("fr;q=1.0, ko;q=0.2", Language::Korean),
            ("ko;q=0, en;q=0.1", Language::English),
            ("KO", Language::Korean),
            ("kok", Language::English),
            ("ko;q=x", Language::English),
            ("de", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(accepted(header), language, "{header}");
        }
        assert_eq!(Language::accepted(&HeaderMap::new()), Language::English);
    }
}
