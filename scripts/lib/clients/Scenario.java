// The scenario of scripts/clients, through the generated client for Java.

import com.example.coupons.ApiClient;
import com.example.coupons.ApiException;
import com.example.coupons.api.IssuingApi;
import com.example.coupons.api.IssuingApi.APIAskForCouponRequest;
import com.example.coupons.api.IssuingApi.APIShowIssueRequest;
import com.example.coupons.model.Issue;
import com.example.coupons.model.Problem;
import java.time.Duration;
import java.time.Instant;
import java.util.List;

final class Scenario {
  private static final String CODE = System.getenv("COUPON");

  private static IssuingApi api(String token) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv("URL"));
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
    return new IssuingApi(client);
  }

  private static APIAskForCouponRequest ask() {
    return APIAskForCouponRequest.newBuilder().code(CODE).build();
  }

  private static void must(boolean holds, Object what) {
    if (!holds) {
      throw new IllegalStateException(String.valueOf(what));
    }
  }

  /** The problem of an ask that must be refused, as 409. */
  private static Problem refused(String token) throws Exception {
    try {
      throw new IllegalStateException("not refused: " + api(token).askForCoupon(ask()));
    } catch (ApiException refusal) {
      must(refusal.getCode() == 409, refusal);
      return ApiClient.createDefaultObjectMapper().readValue(refusal.getResponseBody(), Problem.class);
    }
  }

  public static void main(String[] arguments) throws Exception {
    IssuingApi holder = api(System.getenv("HOLDER"));
    var first = holder.askForCouponWithHttpInfo(ask());
    must(first.getStatusCode() == 202, first.getStatusCode());
    var id = first.getData().getRequestId();
    var again = holder.askForCouponWithHttpInfo(ask());
    must(again.getStatusCode() == 200 && again.getData().getRequestId().equals(id), again.getData());

    must(refused(System.getenv("LATE")).getCode().equals("SOLD_OUT"), "not sold out");

    Instant deadline = Instant.now().plus(Duration.ofSeconds(30));
    var show = APIShowIssueRequest.newBuilder().code(CODE).requestId(id).build();
    Issue issue = holder.showIssue(show);
    while (!String.valueOf(issue.getState()).equals("issued")) {
      must(Instant.now().isBefore(deadline), issue);
      Thread.sleep(100);
      issue = holder.showIssue(show);
    }
    must(issue.getExpiresAt() != null, issue);

    String odd = System.getenv("ODD");
    if (odd != null && !odd.isEmpty()) {
      Problem problem = refused(odd);
      must(problem.getStatus() == 409 && !List.of("SOLD_OUT", "NOT_OPEN", "CLOSED").contains(problem.getCode()), problem);
    }
  }
}
