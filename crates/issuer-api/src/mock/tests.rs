use super::*;

fn named(name: &str) -> (CouponCode, MemberId) {
    ("SPRING".parse().unwrap(), name.parse().unwrap())
}

fn state_of(mock: &Mock, code: &CouponCode, member: &MemberId, id: RequestId) -> State {
    mock.standing(code, member, id).unwrap().state
}

#[test]
fn a_member_holds_one_request_that_is_issued_at_the_second_look() {
    let (mock, (code, member)) = (Mock::default(), named("alice"));
    let first = mock.accept(&code, &member);
    let again = mock.accept(&code, &member);
    assert_eq!((first.is_repeat, again.is_repeat), (false, true));
    assert_eq!(first.request_id, again.request_id);
    assert_eq!(state_of(&mock, &code, &member, first.request_id), State::Accepted);
    assert_eq!(state_of(&mock, &code, &member, first.request_id), State::Issued);
    let (_, other) = named("bob");
    assert_eq!(mock.standing(&code, &other, first.request_id), None, "it is no request of another member");
    assert_eq!(mock.held_by(&code, &other), None);
}

#[test]
fn a_name_that_forces_twice_forces_no_third_time() {
    let (mock, (_, member)) = (Mock::default(), named("stock-unavailable~2.alice"));
    let told = |is_ask| mock.forced(&member, is_ask).err().map(|problem| problem.code());
    assert_eq!(
        [told(false), told(false), told(false)],
        [Some(Code::StockUnavailable), Some(Code::StockUnavailable), None]
    );
    let (_, refused) = named("sold-out.bob");
    assert!(mock.forced(&refused, false).is_ok(), "a GET is not refused as sold out");
    assert_eq!(mock.forced(&refused, true).unwrap_err().code(), Code::SoldOut);
}

#[test]
fn a_compensated_request_names_the_one_that_replaces_it() {
    let (mock, (code, member)) = (Mock::default(), named("compensated~1.alice"));
    let first = mock.accept(&code, &member).request_id;
    assert_eq!(state_of(&mock, &code, &member, first), State::Compensated);
    assert_eq!(mock.held_by(&code, &member), None);
    let second = mock.accept(&code, &member);
    assert!(!second.is_repeat);
    let standing = mock.standing(&code, &member, first).unwrap();
    assert_eq!(standing.replaced_by.unwrap().request_id, second.request_id);
    assert_eq!(mock.held_by(&code, &member).unwrap().request_id, second.request_id);
}

#[test]
fn the_list_of_a_member_has_pages_and_the_newest_first() {
    let (mock, (_, member)) = (Mock::default(), named("alice"));
    let mut ids: Vec<RequestId> =
        (0..3).map(|number| mock.accept(&format!("C{number}").parse().unwrap(), &member).request_id).collect();
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    let page = mock.requests_of(&member, None, 2);
    let listed: Vec<RequestId> = page.requests.iter().map(|standing| standing.request_id).collect();
    assert_eq!((listed.as_slice(), page.has_more), (&ids[..2], true));
    let rest = mock.requests_of(&member, Some(ids[1]), 2);
    assert_eq!((rest.requests.len(), rest.has_more), (1, false));
}
