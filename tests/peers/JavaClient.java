import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Connects to each URL with Java's own WebSocket client and sends "tom". Prints the answer and the close code, or the
 * status of a refusal. Run it with: java JavaClient.java CA_FILE URL...
 */
public class JavaClient {
  public static void main(String[] args) throws Exception {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (FileInputStream file = new FileInputStream(args[0])) {
      store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
    }
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(store);
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(null, trust.getTrustManagers(), null);
    HttpClient http = HttpClient.newBuilder().sslContext(tls).build();
    for (int at = 1; at < args.length; at++) System.out.println(talk(http, URI.create(args[at])));
    System.exit(0);
  }

  private static String talk(HttpClient http, URI url) throws Exception {
    CompletableFuture<String> reply = new CompletableFuture<>();
    CompletableFuture<Integer> closed = new CompletableFuture<>();
    WebSocket.Listener listener = new WebSocket.Listener() {
      @Override
      public CompletionStage<?> onText(WebSocket socket, CharSequence text, boolean last) {
        reply.complete(text.toString());
        socket.request(1);
        return null;
      }

      @Override
      public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
        closed.complete(code);
        return null;
      }

      @Override
      public void onError(WebSocket socket, Throwable error) {
        reply.completeExceptionally(error);
        closed.completeExceptionally(error);
      }
    };
    try {
      WebSocket.Builder builder = http.newWebSocketBuilder();
      // Earlier releases of Java 17 sent this header. -Djdk.httpclient.allowRestrictedHeaders allows an app to set it.
      if (Boolean.getBoolean("contentLength")) builder.header("Content-Length", "0");
      WebSocket socket = builder.buildAsync(url, listener).get(30, TimeUnit.SECONDS);
      socket.sendText("tom", true);
      String text = reply.get(30, TimeUnit.SECONDS);
      socket.sendClose(WebSocket.NORMAL_CLOSURE, "");
      return text + " " + closed.get(30, TimeUnit.SECONDS);
    } catch (ExecutionException error) {
      if (!(error.getCause() instanceof WebSocketHandshakeException refused)) throw error;
      return "refused " + refused.getResponse().statusCode();
    }
  }
}
